"""The audit of a study whose trials are made up: three trials, two scoring settings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from methods.criteria.registry import get_criterion
from tests.evaluation.test_audit import labels_of
from tests.registry import toys as _toys  # noqa: F401
from tests.study.toys import keep_scores, trial
from tuner.evaluation.study import StudyAudit
from tuner.study.home import StudyFolder
from tuner.study.pool import gather
from tuner.study.space import MethodSpace

SPACE = MethodSpace(
    "registry_toy", {}, {"gain": 1.0}, {}, ({"pooling": "mean"}, {"pooling": "max"}), 1
)
NAMES = ["synthetic_validation", "validation_loss", "score_variance"]
ANOMALOUS = np.array([0, 0, 0, 0, 1, 1, 1, 1], bool)
GOOD, FAIR, BAD = np.arange(8.0), np.array([0, 4, 2, 3, 1, 5, 6, 7.0]), -np.arange(8.0)


def study(folder: Path, labels: Any, judged: list[tuple[str, Any, dict[str, Any]]]) -> StudyAudit:
    """`judged` is the kind, the scores and the criteria of each trial."""
    home, entries = StudyFolder(folder), []
    images = torch.randint(0, 256, (8, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    for number, (kind, scores, criteria) in enumerate(judged):
        by_setting = {n: [np.nan] * 2 if v is None else [v, 0.0] for n, v in criteria.items()}
        keep_scores(home.trial(number), np.stack([scores, GOOD]), np.ones((2, 5)), by_setting)
        save_file(
            {"mean": torch.full((1, 3, 1, 1), 0.1 * number)},
            home.trial(number) / "detector.safetensors",
        )
        entries.append(trial(number, criteria, kind=kind, method="registry_toy"))
    bench: Any = SimpleNamespace(
        space=lambda method: SPACE,
        config=SimpleNamespace(false_positive_rate=0.2),
        data=SimpleNamespace(test=images.to(torch.uint8)),
    )
    pool = gather(entries, home.trial, [get_criterion(name) for name in NAMES])
    return StudyAudit(bench, home, pool, labels, get_criterion(NAMES[0]))


def values(synthetic: float | None, loss: float | None) -> dict[str, float | None]:
    return {"synthetic_validation": synthetic, "validation_loss": loss, "score_variance": None}


THREE = [
    ("default", BAD, values(0.5, 1.0)),
    ("random", FAIR, values(0.9, 3.0)),
    ("search", GOOD, values(0.7, 2.0)),
]


def masks() -> np.ndarray:
    found = np.zeros((8, 16, 16), bool)
    found[4:, 2:6, 3:8] = True
    return found


def test_each_criterion_is_judged_over_the_same_trials(tmp_path: Path) -> None:
    found = study(tmp_path, labels_of(masks(), ANOMALOUS), THREE).figures(1, True)
    assert found["trials"]["image_auroc"] == {"2": 1.0, "1": 13 / 16, "0": 0.0}
    synthetic, loss = (found["criteria"][n] for n in ("synthetic_validation", "validation_loss"))
    assert (synthetic["pick"], synthetic["spearman"]) == (1, pytest.approx(0.5))
    assert synthetic["regret"] == pytest.approx(3 / 16) and synthetic["normalised_rank"] == 0.5
    # A low loss is good: it picks the worst, and ranks 0 before 2 before 1.
    assert (loss["pick"], loss["spearman"]) == (0, pytest.approx(-0.5))
    assert loss["regret"] == 1.0 and loss["normalised_rank"] == 1.0
    variance = found["criteria"]["score_variance"]
    assert variance["applicable"] is False and variance["image_auroc"] is None
    # Had it led, synthetic validation would have kept the first setting, of the trial it prefers.
    assert synthetic["leading"] == {
        "trial": 1, "scoring": {"pooling": "mean"}, "image_auroc": 13 / 16
    }  # fmt: skip
    assert variance["leading"] is None
    borda = found["criteria"]["borda"]
    assert borda["of"] == "study" and borda["tied"] == 3 and borda["spearman"] is None
    assert found["criteria"]["model_centrality"]["pick"] in (1, 2)
    controls = found["controls"]
    mean = (1 + 13 / 16) / 3
    assert controls["random_pick"]["image_auroc"] == pytest.approx(mean)
    assert controls["random_draws"]["image_auroc"] == 13 / 16
    # Defaults are under the paper's scoring, here the second setting.
    assert controls["defaults"] == {"image_auroc": 1.0, "regret": 0.0, "normalised_rank": 0.25}
    assert set(found["picks"]) == {"0", "1", "2"}
    assert all(0 <= figures["aupro"] <= 1 for figures in found["picks"].values())
    assert found["threshold"]["quantile"]["anomalous_flagged"] == 0.75
    json.dumps(found)


def test_the_defaults_are_those_of_the_winners_own_method(tmp_path: Path) -> None:
    audit = study(tmp_path, labels_of(masks(), ANOMALOUS), [THREE[0], *THREE])
    entries = list(audit.pool.entries)
    entries[0] = replace(entries[0], method="another")
    audit.pool = replace(audit.pool, entries=tuple(entries))
    assert audit.figures(2, False)["trials"]["default"] == 1


def test_pixel_figures_are_kept_until_weights_or_truth_change(tmp_path: Path) -> None:
    first = study(tmp_path, labels_of(masks(), ANOMALOUS), THREE).figures(1, False)
    assert first["picks"]["0"]["aupro"] is None
    again = study(tmp_path, labels_of(masks(), ANOMALOUS), THREE)
    contender = again.contender(again.pool.entries[1])
    assert contender.maps is None
    assert contender.pixels == {n: first["winner"][n] for n in ("pixel_auroc", "pixel_ap", "aupro")}
    other = study(tmp_path, labels_of(~masks(), ANOMALOUS), THREE)
    assert other.contender(other.pool.entries[1]).pixels is None
    (tmp_path / "audit" / "pixel_figures.json").write_text("broken")
    assert study(tmp_path, labels_of(masks(), ANOMALOUS), THREE).figures(1, False) == first


@pytest.mark.parametrize("anomalous", [np.zeros(8, bool), np.ones(8, bool)])
def test_one_class_only_leaves_nothing_defined(tmp_path: Path, anomalous: np.ndarray) -> None:
    audit = study(tmp_path, labels_of(None, anomalous), THREE)
    found = audit.figures(1, True)
    assert found["trials"]["mean_image_auroc"] is None
    assert found["criteria"]["validation_loss"]["spearman"] is None
    assert found["criteria"]["validation_loss"]["pick"] == 0
    assert found["controls"]["random_pick"]["regret"] is None
    audit.draw(found)
    assert (tmp_path / "audit" / "criteria.png").is_file()
    json.dumps(found, allow_nan=False)


def test_scores_that_are_not_numbers_take_one_trial_out(tmp_path: Path) -> None:
    broken = np.where(np.arange(8) == 3, np.nan, GOOD)
    found = study(
        tmp_path, labels_of(masks(), ANOMALOUS), [*THREE[:2], ("search", broken, values(0.95, 0.5))]
    ).figures(1, False)
    assert found["trials"]["image_auroc"]["2"] is None
    assert found["trials"]["best"] == 1
    assert found["criteria"]["synthetic_validation"]["pick"] == 2
    assert found["criteria"]["synthetic_validation"]["regret"] is None
    json.dumps(found, allow_nan=False)
