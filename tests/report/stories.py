"""A story made by hand, for the page to tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tuner.report.page import (
    Audited,
    Confusion,
    CriterionRow,
    DefectRow,
    Figure,
    HyperparameterRow,
    Story,
    Suspect,
    TrialRow,
)
from tuner.report.page.charts import (
    Axis,
    Point,
    by_rung,
    by_trial,
    curve,
    importances,
    parallel,
    scatter,
    slices,
    timeline,
    trajectories,
)
from tuner.report.page.thumbnails import heat_map, mask_picture, photograph, thumbnails
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
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 40, 3)).astype(np.uint8)
    maps = images[:, ::2, ::2, 0].astype(np.float32)
    found = []
    for i, (image, amap) in enumerate(zip(images, maps, strict=True)):
        pictures = [
            photograph(image, f"image {i}", amap, 200.0),
            replace(heat_map(image, amap, f"heat of {i}", heat_scale(maps)), caption="heat map"),
            mask_picture(amap > 100, image, f"truth of {i}"),
        ]
        note = "overlooked: crack" if i == 0 else ""
        found.append(Suspect(first + i, 4.0 - i, pictures, note, f"a&b/{i}.png", (4.0 - i) / 2.5))
    return found


def story(*, audited: bool = True) -> Story:
    rows = trials()
    line = ([0.0, 0.2, 1.0], [0.0, 0.9, 1.0])
    names = ("false positive rate", "true positive rate")
    audit = Audited(
        metrics=("image_auroc", "pixel_ap"),
        contenders={"winner": [0.8, None], "best": [0.8, 0.3]},
        defects=[
            DefectRow("crack", 7, 5, 3, 0.9, 0.8, 0.95),
            DefectRow("broken_edge", 2, None, None, None, None, None),
        ],
        notes=["40 of 80 images are anomalous."],
        charts=[curve("ROC of the winner", "roc", {"winner": line}, names, "a curve")],
        misses=suspects(1),
        confusions=[Confusion("winner", 1, 1, 1, 1)],
        truth=[False, True, False, True],
    )
    points = [(0.5, 1.0, 0), (0.65, 2.0, 2)]
    drawn = [
        Point({"noise_sigma": 0.1, "pooling": "max"}, 0.5, 0),
        Point({"noise_sigma": 1}, 0.6, -1),
    ]
    axes = {"noise_sigma": Axis(0.01, 1.0, log=True), "pooling": Axis(choices=["mean", "max"])}
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
            slices(drawn, axes, CRITERION),
            parallel(drawn, axes, CRITERION),
            timeline([(0, "finished", 10.0, 20.0), (1, "stopped_early", 12.0, 15.0)]),
        ],
        gallery={"normal": thumbnails(np.zeros((2, 3, 8, 8)), ["a", "b"])},
        headline="2 of 4 unlabelled images are flagged.",
        tone="bad",
        expected=["1 of 4 held-out normal images is flagged"],
        pasted_scores={"line_cut": [2.0, 3.0]},
        names=[("c.png", 2.6)],
        card=[Figure("signal", "1.2")],
        commands=[("tuner promote lids", "make it the champion")],
        most=suspects(3),
        least=suspects(1, first=20),
        threshold=2.5,
        false_positive_rate=0.05,
        test_scores=[1.0, 2.0, 3.0, 4.0],
        held_out_scores=[0.5, 1.5, 2.5, 3.5],
        audit=audit if audited else None,
        made="Made by hand.",
    )
