"""What thresholds that were set without labels do on the test batch."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from tuner.evaluation.audit import Truth
from tuner.registry.threshold import Rule, find_threshold

Array = NDArray[Any]


def threshold_figures(
    labels: Truth, scores: Array, held_out: Array, false_positive_rate: float
) -> dict[str, Any]:
    """For each rule: its value, and the shares of normal and of anomalous test images above it.

    `scores` `[M]` in the order of the labels, `held_out` `[V]` of held-out normals. A share is None
    where there is no such image, or a score is not a number.
    """
    anomalous = np.asarray(labels.anomalous, dtype=bool)
    found: dict[str, Any] = {"wanted": false_positive_rate}
    for rule in get_args(Rule):
        threshold = find_threshold(held_out, false_positive_rate, rule)
        found[rule] = {
            "value": threshold.value,
            "extrapolated": threshold.rule == "extreme-value",
            "normal_flagged": _share(scores[~anomalous], threshold.value),
            "anomalous_flagged": _share(scores[anomalous], threshold.value),
        }
    return found


def _share(scores: Array, threshold: float) -> float | None:
    if len(scores) == 0 or not np.isfinite(scores).all():
        return None
    return float((scores > threshold).mean())
