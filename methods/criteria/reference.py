"""Criteria that ask whether a detector ranks the batch as a reference does that is not trained.

The reference is a memory of pretrained features of normal images where a study has one, else the
distance from normal images in the embedding of `methods.criteria.appearance`. It knows nothing of
any trial, so that its errors are not theirs; where it is blind itself, agreeing with it means
nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from methods.criteria.aligned import standardised
from methods.criteria.consensus import agreement_with, descending_ranks
from methods.criteria.contract import Criterion, Evidence
from methods.criteria.dispersion import score_variance_standardised
from methods.criteria.registry import register_criterion


def unusualness(normal: Tensor, test: Tensor) -> Tensor:
    """Distance of `[M, E]` from the mean of normals `[N, E]`, in units of their spread: `[M]`."""
    return torch.linalg.vector_norm(standardised(normal, test)[1], dim=1)


def in_spreads(scores: Tensor, normals: Tensor) -> Tensor:
    """Scores `[M]` as distances from the mean of normal ones `[V]`, in units of their spread: what
    several references can be averaged in."""
    spread, mean = torch.std_mean(normals, correction=0)
    return (scores - mean) / spread.clamp(min=1e-6)


def reference_agreement(scores: Tensor, reference: Tensor) -> Tensor:
    """Spearman's correlation of scores `[S, M]` with `[M]`: float64 `[S]` in [-1, 1].

    NaN where either is equal throughout, for fewer than 3 images, and where a score is NaN.
    """
    rows = torch.cat((reference[None].to(torch.float64), scores.to(torch.float64)))
    if rows.shape[1] < 3:
        return torch.full((len(scores),), torch.nan, dtype=torch.float64, device=scores.device)
    ranks = descending_ranks(rows)
    return agreement_with(ranks[1:], ranks[0]).to(scores.device)


def reference_scores(evidence: Evidence) -> tuple[Tensor, Tensor | None] | None:
    """What the reference says of the batch `[M]` and, where it is known, of pasted defects `[Q]`:
    the scores that were gathered with it, else distances in the fixed embedding. None without."""
    if evidence.test_reference is not None:
        return evidence.test_reference, evidence.synthetic_reference
    normal, test = evidence.normal_appearance, evidence.test_appearance
    if normal is None or test is None:
        return None
    synthetic = evidence.synthetic_appearance
    if synthetic is None:
        return unusualness(normal, test), None
    scores = unusualness(normal, torch.cat((test, synthetic)))
    return scores[: len(test)], scores[len(test) :]


def agreed_score_variance(scores: Tensor, held_out: Tensor, reference: Tensor) -> Tensor:
    """Standardised variance of scores `[S, M]` times their agreement with a reference `[M]`.

    Variance alone (ST-SSAD, Eq. 6) does not ask which images stand out, agreement alone not how
    far: a detector that is better than the reference cannot gain by it. Of the variance over that
    of held-out normals `[S, V]`, this is the part that the reference is of one mind with, by
    Spearman's correlation; none where that is not positive. float64 `[S]`, at least 0; NaN where
    either factor is.
    """
    agreement = reference_agreement(scores, reference).clamp(min=0)
    return score_variance_standardised(scores, held_out) * agreement


def _agreed(evidence: Evidence) -> Tensor:
    reference = reference_scores(evidence)
    if reference is None:
        return evidence.nowhere()
    return agreed_score_variance(evidence.test_scores, evidence.held_out_scores, reference[0])


def _evaluate(evidence: Evidence) -> Tensor:
    reference = reference_scores(evidence)
    if reference is None:
        return evidence.nowhere()
    return reference_agreement(evidence.test_scores, reference[0])


register_criterion(
    Criterion(
        name="reference_agreement",
        title="rank correlation of the batch's scores with those of a fixed, untrained detector",
        direction="maximize",
        source="ours",
        sees_scoring=True,
        evaluate=_evaluate,
        needs=frozenset({"test_scores", "normal_appearance", "test_appearance"}),
        invariances=frozenset({"shift", "scale", "monotone"}),
    )
)

register_criterion(
    Criterion(
        name="agreed_score_variance",
        title="variance of the batch's scores in units of held-out normals, times their agreement"
        " with a fixed detector",
        direction="maximize",
        source="ours; after ST-SSAD, Eq. 6",
        sees_scoring=True,
        evaluate=_agreed,
        needs=frozenset({"test_scores", "held_out_scores", "normal_appearance", "test_appearance"}),
        invariances=frozenset({"shift", "scale"}),
    )
)
