"""One trial of a method on one task, and the choice between sibling trials.

The truth is opened when a trial has ended, to be written down with it. The choice between siblings
does not see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from cells import Record

from methods.contract import Context, TrialData, unit
from methods.criteria.dispersion import score_variance, score_variance_standardised
from methods.registry import get_method
from methods.self_tuning.guards import comparable, warnings
from tuner.evaluation.image_metrics import image_auroc

SIBLING = "score_variance"


def trial(
    name: str,
    data: TrialData,
    values: Mapping[str, Any],
    context: Context,
    truths: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> Record:
    """Train method `name` on one thread and write down what it learned, without and then with
    labels.

    `truths` holds for each task the unlabelled images that belong to it (bool `[M]`) and which of
    the M are anomalous (bool `[M]`): a method that does not look at them can serve several tasks.
    """
    torch.set_num_threads(1)
    method = get_method(name)
    path: list[tuple[int, Mapping[str, float]]] = []
    last = None
    for last in method.fit(data, values, context):
        path += last.trajectory
    assert last is not None
    data = data.to(context.device)
    scores = last.detector.scores(unit(data.test), {})[None].cpu()
    held_out = last.detector.scores(unit(data.held_out), {})[None].cpu()
    record: Record = {
        "tuned": dict(last.tuned),
        "trajectory": [[step, *(round(v, 6) for v in where.values())] for step, where in path],
        "train_loss": last.train_loss,
        "diagnostics": dict(last.diagnostics),
        "warnings": warnings(last.diagnostics),
        "comparable": comparable(last.diagnostics),
        SIBLING: float(score_variance(scores)),
        SIBLING + "_standardised": float(score_variance_standardised(scores, held_out)),
    }
    # From here on with labels.
    found = scores[0].double().numpy()
    record["auc"] = {
        task: image_auroc(anomalous[inside], found[inside])
        for task, (inside, anomalous) in truths.items()
    }
    return record


def choose(siblings: Mapping[str, Record]) -> str | None:
    """The sibling whose scores vary most (ST-SSAD, Eq. 6), without labels and without L_val.

    One whose variance means nothing (its network had not learned its task when tuning began, or
    its embeddings collapsed) is taken only where there is no other; None where all have failed.
    """
    ended = [name for name, record in siblings.items() if record.get(SIBLING) is not None]
    return max(
        ended,
        key=lambda name: (siblings[name]["comparable"], siblings[name][SIBLING]),
        default=None,
    )
