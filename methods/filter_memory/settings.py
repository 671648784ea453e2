"""Scoring of a filter memory: smoothing and pooling of its distance maps."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from methods.contract import Scoring
from methods.hyperparameter import Hyperparameter, Value, complete
from methods.scoring import pipeline
from methods.scoring.smoothing import kernel_pixels

# PatchCore takes the maximum of the map; a mean of its highest pixels is steadier where there is
# no trained network.
_DEFAULTS: Mapping[str, Value] = {"smoothing_passes": 0, "pooling": "topk"}
SCORING: tuple[Hyperparameter, ...] = tuple(
    replace(p, default=_DEFAULTS.get(p.name, p.default), source="ours")
    for p in pipeline.SCORING
    if p.name != "discrepancy"
)


@dataclass(frozen=True)
class Setting:
    """`passes` of a mean filter of `side` pixels, then a pooling."""

    passes: int
    side: int
    pooling: str


def setting_of(scoring: Scoring, shape: Sequence[int]) -> Setting:
    """A scoring setting on maps of (height, width). Raises ValueError for one out of bounds."""
    values = complete(SCORING, scoring)
    passes, pooling = int(values["smoothing_passes"]), str(values["pooling"])
    side = kernel_pixels(float(values["smoothing_size"]), shape[0], shape[1])
    return Setting(passes, side, pooling) if passes and side > 1 else Setting(0, 1, pooling)


def expand_grid(values: Mapping[str, Sequence[Value]]) -> list[dict[str, Value]]:
    """The product of lists of scoring values, complete; without smoothing, a filter's size means
    nothing, and the first stays. Raises ValueError for an unknown name or a value out of bounds."""
    found: dict[tuple[Value | None, ...], dict[str, Value]] = {}
    for chosen in itertools.product(*values.values()):
        setting = complete(SCORING, dict(zip(values, chosen, strict=True)))
        size = setting["smoothing_size"] if setting["smoothing_passes"] else None
        found.setdefault((setting["smoothing_passes"], size, setting["pooling"]), setting)
    return list(found.values())
