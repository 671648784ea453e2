"""A story made by hand, for the page to tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tuner.report.page import (
    Audited,
    CriterionRow,
    Figure,
    HyperparameterRow,
    Story,
    Suspect,
    TrialRow,
)
from tuner.report.page.charts import by_rung, by_trial, curve, importances, scatter, trajectories
from tuner.report.page.thumbnails import heat_thumbnails, thumbnails
from tuner.report.pictures import heat_scale

CRITERION = "synthetic_validation"


def trials() -> list[TrialRow]:
    def row(number: int, state: str, rungs: Sequence[float | None], **more: Any) -> TrialRow:
        return TrialRow(
            number, "search", "fae", state, len(rungs), rungs[-1] if rungs else None, rungs, 3.5,
            **more,
        )  # fmt: skip

    return [
        row(0, "finished", [0.5, 0.55], auroc=0.7),
        row(1, "stopped_early", [0.45], auroc=0.6, warnings=("it saw <nothing>",)),
        row(2, "finished", [0.6, 0.65], auroc=0.8),
        row(10, "failed", [], reason="the loss is not finite"),
    ]


def suspects(count: int, first: int = 1) -> list[Suspect]:
    images = np.random.default_rng(0).random((count, 3, 16, 20))
    maps = images[:, 0]
    alts = [f"image {i}" for i in range(count)]
    shown = thumbnails(images, alts)
    heat = heat_thumbnails(images, maps, [f"heat of {a}" for a in alts], heat_scale(maps))
    return [
        Suspect(first + i, 4.0 - i, pair, "overlooked: crack" if i == 0 else "")
        for i, pair in enumerate(zip(shown, heat, strict=True))
    ]


def story(*, audited: bool = True) -> Story:
    rows = trials()
    line = ([0.0, 0.2, 1.0], [0.0, 0.9, 1.0])
    names = ("false positive rate", "true positive rate")
    audit = Audited(
        metrics=("image_auroc", "pixel_ap"),
        contenders={"winner": [0.8, None], "best": [0.8, 0.3]},
        defects={"crack": (7, 0.9), "broken_edge": (2, None)},
        notes=["40 of 80 images are anomalous."],
        charts=[curve("ROC of the winner", "roc", {"winner": line}, names, "a curve")],
        misses=suspects(1),
    )
    points = [(0.5, 1.0, 0), (0.65, 2.0, 2)]
    return Story(
        study="lids-1",
        category="lids <b>",
        demo=True,
        verdict="Trial 2 was chosen without labels.",
        facts=[Figure("threshold", "2.5", "for 5 %")],
        reliability="no better than random",
        reasons=["criteria disagree"],
        criterion=CRITERION,
        hyperparameters=[
            HyperparameterRow("noise_sigma", "σ", "noise", "", "0.2", "0.1", "PAE", changed=True),
            HyperparameterRow("steps", "", "length", "", "400", "400", "ours", changed=False),
        ],
        criteria=[CriterionRow(CRITERION, "AUROC", "maximize", "SWSA", 0.65, 0.55, None)],
        trials=rows,
        charts=[
            by_trial(rows, CRITERION, "maximize", 2),
            by_rung(rows, CRITERION, 2),
            importances({"noise_sigma": 0.7, "mask_weight": 0.3}),
            scatter(
                "Two", "front", points, axes_names=("criterion", "other"), winner=2, text="dots"
            ),
            trajectories("Learned", "learned-2", [1, 2], {"size": [0.1, 0.001]}),
        ],
        gallery={"normal": thumbnails(np.zeros((2, 3, 8, 8)), ["a", "b"])},
        most=suspects(3),
        least=suspects(1, first=20),
        threshold=2.5,
        false_positive_rate=0.05,
        test_scores=[1.0, 2.0, 3.0, 4.0],
        held_out_scores=[0.5, 1.5, 2.5, 3.5],
        audit=audit if audited else None,
        made="Made by hand.",
    )
