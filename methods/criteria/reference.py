"""A criterion that asks whether a detector ranks the batch as a fixed, untrained one does.

The fixed one is the distance from normal images in the embedding of `methods.criteria.appearance`.
It knows nothing of any trial, so that its errors are not theirs; where it is blind itself, agreeing
with it means nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from methods.criteria.aligned import standardised
from methods.criteria.consensus import agreement_with, descending_ranks
from methods.criteria.contract import Criterion, Evidence
from methods.criteria.registry import register_criterion


def unusualness(normal: Tensor, test: Tensor) -> Tensor:
    """Distance of `[M, E]` from the mean of normals `[N, E]`, in units of their spread: `[M]`."""
    return torch.linalg.vector_norm(standardised(normal, test)[1], dim=1)


def reference_agreement(scores: Tensor, reference: Tensor) -> Tensor:
    """Spearman's correlation of scores `[S, M]` with `[M]`: float64 `[S]` in [-1, 1].

    NaN where either is equal throughout, for fewer than 3 images, and where a score is NaN.
    """
    rows = torch.cat((reference[None].to(torch.float64), scores.to(torch.float64)))
    if rows.shape[1] < 3:
        return torch.full((len(scores),), torch.nan, dtype=torch.float64, device=scores.device)
    ranks = descending_ranks(rows)
    return agreement_with(ranks[1:], ranks[0]).to(scores.device)


def _evaluate(evidence: Evidence) -> Tensor:
    if evidence.normal_appearance is None or evidence.test_appearance is None:
        return evidence.nowhere()
    reference = unusualness(evidence.normal_appearance, evidence.test_appearance)
    return reference_agreement(evidence.test_scores, reference)


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
