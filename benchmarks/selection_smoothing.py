"""A criterion of all trials under all settings, smoothed over the study: attempts against its luck.

`values` is `[T, S]`, higher better, NaN where the criterion does not apply; so is each result.
"""

from __future__ import annotations

import numpy as np
import torch
from selection_judge import Array

from methods.criteria.aggregation import ensemble_scores
from methods.criteria.reference import reference_agreement


def half_additive(values: Array) -> Array:
    """The mean of each value and of what its trial and its setting have in common."""
    known = np.where(np.isfinite(values), values, np.nanmean(values))
    common = known.mean(0) + known.mean(1, keepdims=True) - known.mean()
    return np.where(np.isfinite(values), (known + common) / 2, np.nan)


def rank_one(values: Array) -> Array:
    """The nearest matrix of rank one, about the mean."""
    centre = np.nanmean(values)
    known = np.where(np.isfinite(values), values, centre) - centre
    left, sizes, right = np.linalg.svd(known, full_matrices=False)
    near = centre + sizes[0] * np.outer(left[:, 0], right[0])
    return np.where(np.isfinite(values), near, np.nan)


def agreement_with_best(values: Array, scores: torch.Tensor, count: int = 20) -> Array:
    """Rank correlation of scores `[T, S, M]` with the mean rank of the best `count` of them."""
    rows = scores.flatten(0, 1)
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf).ravel(), kind="stable")[:count]
    joint = ensemble_scores(rows[torch.from_numpy(order.copy())])
    return reference_agreement(rows, joint).reshape(values.shape).numpy()
