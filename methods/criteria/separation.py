"""Criteria that ask whether a few scores of the batch stand apart from the rest.

Those of AutoUAD (ICLR 2025), with the formulas of a public implementation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from methods.criteria.contract import Criterion, Evidence
from methods.criteria.registry import register_criterion

TOP_SHARE = 0.05
MOST_ANOMALIES = 0.2
# Scores come in float32: what is below their rounding counts as equal.
_ROUNDING = 1e-6


def relative_top_median(scores: Tensor) -> Tensor:
    """RTM: `(mean of the top 5 % - median) / median` of `[S, M]`: float64 `[S]`.

    At least one score is a top one. A ratio to the median means something for scores above 0 only:
    NaN where one is below, where the median is 0, and for fewer than 2 scores.
    """
    rows = scores.to(torch.float64)
    if rows.shape[1] < 2:
        return rows.new_full((len(rows),), torch.nan)
    top = rows.topk(math.ceil(TOP_SHARE * rows.shape[1]), dim=1).values.mean(1)
    middle = rows.quantile(0.5, dim=1)
    improper = (rows.amin(1) < 0) | (middle <= 0)
    return ((top - middle) / middle).masked_fill(improper, torch.nan)


def expected_anomaly_gap(scores: Tensor) -> Tensor:
    """EAG: variance between two groups of `[S, M]` over variance within them: float64 `[S]`.

    With the k highest scores as one group, `k (n - k) (m1 - m0)^2 / (n (k v1 + (n - k) v0))`, the
    mean over k from 1 to a fifth of n (population variances). What is within counts as at least a
    millionth of the whole. NaN for fewer than 2 scores and for equal ones.
    """
    rows = scores.to(torch.float64)
    n = rows.shape[1]
    if n < 2:
        return rows.new_full((len(rows),), torch.nan)
    extent = rows.amax(1) - rows.amin(1)
    equal = extent <= _ROUNDING * rows.abs().amax(1)
    # In units of their own extent around their mean, so that no square overflows or cancels.
    unit = (rows - rows.mean(1, keepdim=True)) / extent.masked_fill(equal, torch.nan)[:, None]
    ordered = unit.sort(1, descending=True).values
    sums, squares = ordered.cumsum(1), ordered.square().cumsum(1)
    k = torch.arange(1, math.ceil(MOST_ANOMALIES * n) + 1, device=rows.device)
    total, total_square = sums[:, -1:], squares[:, -1:]
    k = k[k < n]
    upper, upper_square = sums[:, k - 1], squares[:, k - 1]
    lower, lower_square = total - upper, total_square - upper_square
    between = k * (n - k) * (upper / k - lower / (n - k)).square() / n
    within = (upper_square - upper.square() / k) + (lower_square - lower.square() / (n - k))
    return (between / within.clamp(min=_ROUNDING * total_square)).mean(1)


def normalised_pseudo_discrepancy(noise: Tensor, held_out: Tensor) -> Tensor:
    """NPD: `(m_g - m_v)^2 / (2 (v_g + v_v))` of `[S, G]` and `[S, V]`: float64 `[S]`.

    Scores of images drawn pixel by pixel from the Gaussians of normal images against those of
    normal images (unbiased variances). NaN for fewer than 2 scores on either side, and where all
    are equal.
    """
    if min(noise.shape[1], held_out.shape[1]) < 2:
        return torch.full((len(noise),), torch.nan, dtype=torch.float64, device=noise.device)
    generated, normal = noise.to(torch.float64), held_out.to(torch.float64)
    spread = 2 * (generated.var(1) + normal.var(1))
    largest = torch.maximum(generated.abs().amax(1), normal.abs().amax(1))
    no_spread = spread <= (_ROUNDING * largest).square()
    return (generated.mean(1) - normal.mean(1)).square() / spread.masked_fill(no_spread, torch.nan)


def _npd(evidence: Evidence) -> Tensor:
    if evidence.noise_scores is None:
        return evidence.nowhere()
    return normalised_pseudo_discrepancy(evidence.noise_scores, evidence.held_out_scores)


register_criterion(
    Criterion(
        name="relative_top_median",
        title="RTM: how far the top scores of the unlabelled batch are above its median",
        direction="maximize",
        source="AutoUAD",
        sees_scoring=True,
        evaluate=lambda evidence: relative_top_median(evidence.test_scores),
        needs=frozenset({"test_scores"}),
        invariances=frozenset({"scale"}),
    )
)

register_criterion(
    Criterion(
        name="expected_anomaly_gap",
        title="EAG: how far the top scores of the unlabelled batch are apart from the others",
        direction="maximize",
        source="AutoUAD",
        sees_scoring=True,
        evaluate=lambda evidence: expected_anomaly_gap(evidence.test_scores),
        needs=frozenset({"test_scores"}),
        invariances=frozenset({"shift", "scale"}),
    )
)

register_criterion(
    Criterion(
        name="normalised_pseudo_discrepancy",
        title="NPD: how far noise shaped like normal images scores from held-out normals",
        direction="maximize",
        source="AutoUAD; noise drawn pixel by pixel",
        sees_scoring=True,
        evaluate=_npd,
        needs=frozenset({"noise_scores", "held_out_scores"}),
        invariances=frozenset({"shift", "scale"}),
    )
)
