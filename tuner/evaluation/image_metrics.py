"""How well image scores separate anomalous from normal images; ties count half.

Every function takes `anomalous` bool `[M]` and `scores` `[M]` (higher is more anomalous), and
returns NaN where only one class is there, for which these numbers are not defined. A score that
is not a number raises ValueError.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def image_auroc(anomalous: ArrayLike, scores: ArrayLike) -> float:
    """Probability that an anomalous image scores above a normal one."""
    positives, negatives = _by_threshold(anomalous, scores)
    if not (positives.sum() and negatives.sum()):
        return float("nan")
    below = negatives.sum() - np.cumsum(negatives)
    wins = float((positives * (below + negatives / 2)).sum())
    return wins / (float(positives.sum()) * float(negatives.sum()))


def image_ap(anomalous: ArrayLike, scores: ArrayLike) -> float:
    """Average precision: precision at each threshold, weighted by the recall gained there."""
    positives, negatives = _by_threshold(anomalous, scores)
    if not (positives.sum() and negatives.sum()):
        return float("nan")
    found, alarms = np.cumsum(positives), np.cumsum(positives + negatives)
    return float((positives * found / alarms).sum() / positives.sum())


def image_f1_max(anomalous: ArrayLike, scores: ArrayLike) -> float:
    """Highest F1 of any threshold; a threshold that only labels can find."""
    positives, negatives = _by_threshold(anomalous, scores)
    if not (positives.sum() and negatives.sum()):
        return float("nan")
    found, alarms = np.cumsum(positives), np.cumsum(positives + negatives)
    return float((2 * found / (alarms + positives.sum())).max())


def _by_threshold(anomalous: ArrayLike, scores: ArrayLike) -> tuple[Array, Array]:
    """Counts of anomalous and of normal images at each distinct score, highest score first."""
    truth, values = np.asarray(anomalous, dtype=bool), np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise ValueError(
            f"scores are {list(values.shape)}, but must be one per label: {list(truth.shape)}"
        )
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).sum())} of {len(values)} scores are not a number")
    distinct, place = np.unique(-values, return_inverse=True)
    positives = np.bincount(place, weights=truth, minlength=len(distinct))
    negatives = np.bincount(place, weights=~truth, minlength=len(distinct))
    return positives, negatives
