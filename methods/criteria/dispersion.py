"""Criteria that ask how far the scores of the unlabelled batch spread."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.criteria.contract import Criterion, Evidence
from methods.criteria.registry import register_criterion

# Scores come in float32: a spread below its rounding is no spread.
_RELATIVE_ROUNDING = 1e-6


def score_variance(scores: Tensor) -> Tensor:
    """Unbiased variance of `[S, M]` (ST-SSAD, Eq. 6): float64 `[S]`, NaN for fewer than 2 scores.

    It depends on the unit of the score, so it compares detectors with one kind of score only.
    """
    if scores.shape[1] < 2:
        return torch.full((len(scores),), torch.nan, dtype=torch.float64, device=scores.device)
    return scores.to(torch.float64).var(1, correction=1)


def score_variance_standardised(scores: Tensor, held_out: Tensor) -> Tensor:
    """Variance of `[S, M]` after standardising by mean and spread of normal scores `[S, V]`.

    The ratio of the two unbiased variances: 1 where the batch scatters as held-out normals do.
    float64 `[S]`; NaN for fewer than 2 scores on either side, and where the held-out scores are
    equal up to rounding, since a ratio to nothing says nothing.
    """
    reference = score_variance(held_out)
    if held_out.shape[1] < 2:
        return reference + score_variance(scores)
    normal = held_out.to(torch.float64)
    spread = normal.amax(1) - normal.amin(1)
    no_spread = spread <= _RELATIVE_ROUNDING * normal.abs().amax(1)
    return score_variance(scores) / reference.masked_fill(no_spread, torch.nan)


def score_variance_robust(scores: Tensor, held_out: Tensor) -> Tensor:
    """Squared ratio of two absolute deviations, of `[S, M]` and of normal scores `[S, V]`.

    Mean absolute deviation of the batch from its median over the median absolute deviation of
    held-out normals from theirs. A mean above, because a median would not see anomalies that are
    fewer than half; not squared one by one, because a single extreme score would decide. float64
    `[S]`; NaN where `score_variance_standardised` is, and where more than half of the held-out
    scores are equal.
    """
    if min(scores.shape[1], held_out.shape[1]) < 2:
        return torch.full((len(scores),), torch.nan, dtype=torch.float64, device=scores.device)
    batch = _deviations(scores).mean(1)
    normal = held_out.to(torch.float64)
    reference = _median(_deviations(normal))
    no_spread = reference <= _RELATIVE_ROUNDING * normal.abs().amax(1)
    return (batch / reference.masked_fill(no_spread, torch.nan)).square()


def _median(rows: Tensor) -> Tensor:
    """With the mean of the middle two where there is no middle one."""
    return rows.quantile(0.5, dim=1)


def _deviations(scores: Tensor) -> Tensor:
    rows = scores.to(torch.float64)
    return (rows - _median(rows)[:, None]).abs()


def _raw(evidence: Evidence) -> Tensor:
    return score_variance(evidence.test_scores)


def _standardised(evidence: Evidence) -> Tensor:
    return score_variance_standardised(evidence.test_scores, evidence.held_out_scores)


def _robust(evidence: Evidence) -> Tensor:
    return score_variance_robust(evidence.test_scores, evidence.held_out_scores)


_BOTH = frozenset({"test_scores", "held_out_scores"})

register_criterion(
    Criterion(
        name="score_variance",
        title="variance of the unlabelled batch's scores",
        direction="maximize",
        source="ST-SSAD, Eq. 6",
        sees_scoring=True,
        evaluate=_raw,
        needs=frozenset({"test_scores"}),
        invariances=frozenset({"shift"}),
    )
)

register_criterion(
    Criterion(
        name="score_variance_standardised",
        title="variance of the unlabelled batch's scores, in units of held-out normals",
        direction="maximize",
        source="ST-SSAD, Eq. 6; standardised by us",
        sees_scoring=True,
        evaluate=_standardised,
        needs=_BOTH,
        invariances=frozenset({"shift", "scale"}),
    )
)

register_criterion(
    Criterion(
        name="score_variance_robust",
        title="absolute deviation of the unlabelled batch's scores, in units of held-out normals",
        direction="maximize",
        source="after ST-SSAD, Eq. 6; robust form by us",
        sees_scoring=True,
        evaluate=_robust,
        needs=_BOTH,
        invariances=frozenset({"shift", "scale"}),
    )
)
