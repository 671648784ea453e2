"""The last screen of a study: short, and with all that is asked for first."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tuner.packaging import Sight, caught
from tuner.screen.ending import advice, differing
from tuner.screen.voice import ConsoleVoice


def summary(**changes: Any) -> dict[str, Any]:
    arms = {
        "control": {"trial": 1, "method": "patch-memory"},
        "criteria": {"score_variance": {"over_default": 0.1, "over_control": 0.02}},
    }
    found: dict[str, Any] = {
        "study": "lids-1",
        "category": "lids",
        "data": {"demo": False},
        "trials": {"finished": 12, "stopped_early": 37, "failed": 1},
        "winner": {
            "trial": 13, "members": [], "method": "fae", "selected_by": "score_variance",
            "hyperparameters": {"steps": 60, "width": 8, "learning_rate": 3e-3, "pooling": "max"},
            "defaults": {"steps": 60, "width": 8, "learning_rate": 1e-3, "pooling": "mean"},
        },
        "threshold": {
            "value": 0.21731, "false_positive_rate": 0.05, "achievable_rate": 0.05, "count": 19,
            "rule": "quantile", "caution": "",
        },
        "unlabelled": {"images": 38, "flagged": 12},
        "caught": {"scar": 0.5, "patch": 0.875},
        "arms": arms,
        "reliability": {
            "verdict": "doubtful", "figures": {},
            "reasons": ["by the other criteria the winner beats 40% of the random draws " * 2],
        },
        "model": {"name": "lids", "version": 2, "alias": "challenger"},
        "audit": {
            "winner": {"image_auroc": 0.914},
            "default": {"image_auroc": 0.922},
            "threshold": {"quantile": {"normal_flagged": 0.0, "anomalous_flagged": 0.55}},
        },
        "seconds": 600.0,
        "report": "/home/somebody/inspection/tuner-runs/studies/lids-1/report/report.html",
        "tracking_pending": 0,
    }  # fmt: skip
    return {**found, **changes}


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_last_screen_is_short_and_says_what_is_asked_first(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    ConsoleVoice(console).summary(summary())
    lines = console.file.getvalue().strip().splitlines()  # type: ignore[attr-defined]
    assert len(lines) <= 15
    text = " ".join(" ".join(lines).split())
    for said in (
        "lids version 2 (challenger): fae, trial 13 of 50, 10 min",
        "12 of 38 unlabelled images above threshold 0.2173 (for 5 % false alarms)",
        "caught pasted patch 88%, scar 50%",
        "trust doubtful: by the other criteria",
        "learning_rate 0.003 (not 0.001), pooling max (not mean)",
        "image AUROC 0.914 (the defaults 0.922); 55% of defects, 0% of good flagged",
        "report.html",
        "tuner report lids-1 --open tuner promote lids tuner predict lids@challenger IMAGES",
    ):
        assert said in text, said
    assert "steps" not in text


def test_a_threshold_that_promises_less_says_what_it_does() -> None:
    few = {**summary()["threshold"], "achievable_rate": 0.25, "count": 3}
    console = Console(file=io.StringIO(), width=140)
    ConsoleVoice(console).summary(summary(threshold=few))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "(3 held-out normals promise 25 % false alarms)" in text


def test_advice_names_the_step_that_may_settle_it() -> None:
    trusted = {"verdict": "trust", "reasons": [], "figures": {}}
    assert "then promote" in advice(summary(reliability=trusted))
    assert "pictures of the report" in advice(summary())
    few = {"finished": 3, "stopped_early": 0, "failed": 0}
    assert "tuner resume lids-1 --budget 24" in advice(summary(trials=few))
    assert "nothing is flagged" in advice(summary(unlabelled={"images": 38, "flagged": 0}))
    assert "most of the batch" in advice(summary(unlabelled={"images": 38, "flagged": 20}))
    behind = {"score_variance": {"over_default": 0.1, "over_control": 0.0}}
    arms = {**summary()["arms"], "criteria": behind}
    assert "try --method patch-memory" in advice(summary(arms=arms))
    level = {"score_variance": {"over_default": -0.1, "over_control": None}}
    assert "the defaults do as well" in advice(summary(arms={**arms, "criteria": level}))


def test_settings_that_do_not_fit_are_counted_and_equal_ones_left_out() -> None:
    values: dict[str, Any] = {f"setting_{n}": n for n in range(9)}
    winner = {"method": "fae", "hyperparameters": values, "defaults": {**values, "setting_0": 0}}
    assert differing(winner, 60) == "all at their defaults"
    winner["defaults"] = {name: value + 1 for name, value in values.items()}
    assert differing(winner, 60) == "setting_0 0 (not 1), setting_1 1 (not 2) and 7 more: -v"
    assert len(differing(winner, 200).split(", ")) == 9


def test_what_is_caught_is_counted_on_good_parts_alone() -> None:
    # An image's score is its mean: 0.2, 0.8, 0.6 on good parts; what lies on the batch is left out.
    grey = np.array([51, 204, 153, 255, 255], dtype=np.uint8)
    pasted = {
        "images": np.broadcast_to(grey[:, None, None, None], (5, 3, 4, 4)).copy(),
        "on_test": np.array([False, False, False, True, True]),
        "family": np.array([0, 0, 1, 0, 2]),
        "families": ("patch", "scar", "stain"),
    }
    bench: Any = SimpleNamespace(arrays=SimpleNamespace(synthetic=pasted))
    detector = SimpleNamespace(scores=lambda images, scoring: images.mean((1, 2, 3)))
    sight = Sight(detector, {}, np.empty(0))
    assert caught(bench, sight, 0.5) == {"patch": 0.5, "scar": 1.0}
    nothing = {**pasted, "on_test": np.ones(5, dtype=bool)}
    bench.arrays.synthetic = nothing
    assert caught(bench, sight, 0.5) == {}
