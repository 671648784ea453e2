"""The columns of ST-SSAD's tables: which method and which options each of them is.

Every one is what `tuner list methods` shows, by the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OURS = "ST-SSAD"


@dataclass(frozen=True)
class Column:
    """One method with its options. What `tunes` is trained from several starts on every task; the
    others never look at unlabelled images, so that one training serves all tasks of an object."""

    name: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tunes(self) -> bool:
        return self.method == "st-ssad"


def _random(letters: str, augmentation: str) -> tuple[Column, Column]:
    options = {"augmentation": augmentation}
    return (
        Column(f"RS-{letters}", "random-static", options),
        Column(f"RD-{letters}", "random-dynamic", options),
    )


def _tuned(augmentation: str) -> tuple[Column, ...]:
    own = {"augmentation": augmentation}
    return (
        Column(OURS, "st-ssad", own),
        Column("MMD1", "st-ssad", {**own, "alignment": "mmd"}),
        Column("MMD2", "st-ssad", {**own, "alignment": "mmd_raw"}),
        Column("FO", "st-ssad", {**own, "order": "first"}),
    )


_PLAIN = (Column("AE", "ae"), Column("D-SVDD", "deep-svdd"))
TABLE_1 = (
    *_PLAIN,
    *_random("CO", "cutout"),
    *_random("CP", "cutpaste"),
    *_random("CD", "cutdiff"),
    # By the triangular factor, as in the paper.
    *_tuned("cutdiff-cholesky"),
)
TABLE_2 = (*_PLAIN, *_random("RO", "rotation"), *_tuned("rotation"))


@dataclass(frozen=True)
class Protocol:
    """Sizes of a run: `size` in pixels, `most_train` training images at most, `held_out` of them
    kept from training (two at least), and the hyperparameters that differ from the declared ones,
    by method."""

    size: int
    seeds: int
    values: Mapping[str, Mapping[str, Any]]
    most_train: int | None = None
    held_out: float = 0.1

    def of(self, column: Column) -> dict[str, Any]:
        return {**self.values[column.method], **column.options}


def _protocol(
    *,
    size: int,
    seeds: int,
    detector: Mapping[str, Any],
    tuned: Mapping[str, Any],
    others: Mapping[str, Mapping[str, Any]],
    most_train: int | None = None,
    held_out: float = 0.1,
) -> Protocol:
    control = {**detector, "steps": tuned["steps"]}
    values = {
        "st-ssad": {**detector, **tuned},
        "random-static": control,
        "random-dynamic": control,
        **others,
    }
    return Protocol(size, seeds, values, most_train, held_out)


# ST-SSAD, section 4 and Appendix C.2; 20 epochs of warm start are about 150 steps of 32 images.
PAPER = _protocol(
    size=256,
    seeds=5,
    detector={"width": 64, "batch_size": 32},
    tuned={"steps": 650, "warm_share": 150 / 650, "patience": 100},
    others={"ae": {}, "deep-svdd": {}},
    # The choice among starts is by the raw variance, which no held-out image enters.
    held_out=0.0,
)
# The paper's for SVHN: batches of 256, five updates of the network for one of the augmentation, 100
# of these. 40 epochs of warm start are about 1650 steps with the 10 585 images of digit 2.
SVHN = _protocol(
    size=32,
    seeds=5,
    detector={"width": 64, "batch_size": 256},
    tuned={"steps": 2150, "warm_share": 1650 / 2150, "inner_updates": 5, "patience": 100},
    others={"ae": {}, "deep-svdd": {}},
    held_out=0.0,
)
# What two processors bear; ST-SSAD as in st_ssad_demo.py.
QUICK = _protocol(
    size=32,
    seeds=1,
    detector={"width": 8, "stem": "small", "batch_size": 16},
    tuned={
        "steps": 150,
        "warm_share": 1 / 3,
        "inner_updates": 2,
        "tuning_rate": 0.035,
        "patience": 30,
    },
    others={
        "ae": {"width": 8, "batch_size": 32, "steps": 400},
        "deep-svdd": {"width": 8, "stem": "small", "batch_size": 16, "steps": 150},
    },
    most_train=160,
)
DIGITS = _protocol(
    size=16,
    seeds=3,
    detector={"width": 8, "stem": "small", "batch_size": 32},
    tuned={
        "steps": 200,
        "warm_share": 0.4,
        "inner_updates": 2,
        "tuning_rate": 0.07,
        "patience": 40,
    },
    others={
        "ae": {"width": 8, "batch_size": 32, "steps": 400},
        "deep-svdd": {"width": 8, "stem": "small", "batch_size": 32, "steps": 200},
    },
)
