"""Synthetic validation, weighted by which defects look like what is in the unlabelled batch.

Two ideas are joined: alignment says which defects matter (ST-SSAD), validation on synthetic defects
says which detector finds them (SWSA). A family here is a kind of defect at one size and contrast;
how well it aligns is told in a fixed embedding (`methods.criteria.appearance`), never in the
trial's own, so that a trial cannot choose the defects that it is judged by. The weights are the
same for all trials of a study.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from methods.criteria.alignment import validation_loss
from methods.criteria.contract import Criterion, Evidence
from methods.criteria.registry import register_criterion
from methods.criteria.synthetic import SCORES

Weigh = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

# How much of the weight is spread evenly, whatever the batch says: the estimate is a rough one.
EVEN_SHARE = 0.5
USUAL_SHARE = 0.95
VOTES = 5
_SMALLEST = 1e-6


def standardised(normal: Tensor, *others: Tensor) -> list[Tensor]:
    """Rows `[., E]` centred on the normal ones and in units of their spread, float64."""
    rows = [part.detach().to(torch.float64) for part in (normal, *others)]
    centre = rows[0].mean(0)
    scale = rows[0].std(0, correction=0).clamp(min=_SMALLEST)
    return [(part - centre) / scale for part in rows]


def loss_weights(normal: Tensor, test: Tensor, synthetic: Tensor, cell: Tensor) -> Tensor:
    """Weight of each family by ST-SSAD's validation loss (Eq. 2 and 3), families as augmentations.

    `normal` `[N, E]`, `test` `[M, E]`, `synthetic` `[Q, E]` and its families `cell` `[Q]` from 0 to
    F - 1; float64 `[F]`, sum 1, 0 for a family without rows. The weight falls by e for each
    standard deviation of the losses over families.
    """
    normal, test, synthetic = standardised(normal, test, synthetic)
    there, rows = _families(synthetic, cell)
    losses = torch.stack([validation_loss(normal, own, test) for own in rows])
    spread = losses.std(correction=0)
    scaled = (losses - losses.mean()) / spread if float(spread) > _SMALLEST else losses * 0
    return _placed(torch.softmax(-scaled, 0), there, cell)


def mixture_weights(normal: Tensor, test: Tensor, synthetic: Tensor, cell: Tensor) -> Tensor:
    """Weight of each family in the mixture whose mean comes nearest the batch's.

    Arguments and result as in `loss_weights`. Non-negative least squares of the batch's mean
    displacement from normal images in those of the families. Even where none points its way.
    """
    from scipy.optimize import nnls

    normal, test, synthetic = standardised(normal, test, synthetic)
    there, rows = _families(synthetic, cell)
    moved = torch.stack([own.mean(0) for own in rows]) - normal.mean(0)
    found, _ = nnls(moved.T.cpu().numpy(), (test.mean(0) - normal.mean(0)).cpu().numpy())
    total = float(np.sum(found))
    weights = torch.ones(len(rows), dtype=torch.float64) / len(rows)
    if total > _SMALLEST:
        weights = torch.from_numpy(found) / total
    return _placed(weights.to(normal.device), there, cell)


def resemblance_weights(normal: Tensor, test: Tensor, synthetic: Tensor, cell: Tensor) -> Tensor:
    """Weight of each family by how often it is what an unusual image of the batch looks like.

    Arguments and result as in `loss_weights`. Unusual is what lies farther from the normal images'
    mean than 95 % of them; each such image votes for the families of the 5 synthetic ones nearest
    to it, and a vote counts less in a larger family. Even where nothing is unusual.
    """
    normal, test, synthetic = standardised(normal, test, synthetic)
    there, _ = _families(synthetic, cell)
    lengths = torch.linalg.vector_norm(test, dim=1)
    unusual = lengths > torch.linalg.vector_norm(normal, dim=1).quantile(USUAL_SHARE)
    weights = torch.ones(len(there), dtype=torch.float64, device=test.device) / len(there)
    if bool(unusual.any()):
        distances = torch.cdist(test[unusual], synthetic)
        nearest = distances.topk(min(VOTES, len(synthetic)), dim=1, largest=False).indices
        sizes = cell.bincount()
        votes = cell[nearest.flatten()].bincount(minlength=len(sizes))[there] / sizes[there]
        weights = votes.to(torch.float64) / votes.sum()
    return _placed(weights, there, cell)


def _families(synthetic: Tensor, cell: Tensor) -> tuple[Tensor, list[Tensor]]:
    there = cell.unique()
    return there, [synthetic[cell == number] for number in there]


def _placed(weights: Tensor, there: Tensor, cell: Tensor) -> Tensor:
    placed = weights.new_zeros(int(cell.max()) + 1)
    placed[there] = EVEN_SHARE / len(there) + (1 - EVEN_SHARE) * weights
    return placed


def image_wins(evidence: Evidence) -> Tensor:
    """The share of bases that each image with a defect outscores, ties half: float64 `[S, Q]`.

    The bases of its own kind of defect on its own side (batch or held-out normals), each as often
    as it was used: the mean over one kind and side is what `family_aurocs` gives.
    """
    scores = evidence.synthetic_scores.to(torch.float64)
    wins = torch.full_like(scores, torch.nan)
    for on_test in (False, True):
        bases = evidence.test_scores if on_test else evidence.held_out_scores
        for number in range(len(evidence.families)):
            chosen = (evidence.synthetic_family == number) & (evidence.synthetic_on_test == on_test)
            if not bool(chosen.any()):
                continue
            negatives = bases[:, evidence.synthetic_base[chosen]].to(torch.float64).sort(1).values
            own = scores[:, chosen].contiguous()
            below = torch.searchsorted(negatives, own)
            not_above = torch.searchsorted(negatives, own, right=True)
            wins[:, chosen] = (below + not_above).to(torch.float64) / (2 * negatives.shape[1])
    return wins


def weighted_validation(evidence: Evidence, cell: Tensor, weights: Tensor) -> Tensor:
    """Mean over families `cell` `[Q]`, weighted by `[F]`, of the share of bases that are outscored.

    float64 `[S]` in [0, 1]; NaN where a score is.
    """
    each = weights[cell] / cell.bincount(minlength=len(weights))[cell]
    value = image_wins(evidence) @ each / each.sum()
    spoilt = evidence.synthetic_scores.isnan().any(1) | evidence.test_scores.isnan().any(1)
    return value.masked_fill(spoilt | evidence.held_out_scores.isnan().any(1), torch.nan)


def _weighted(evidence: Evidence, weigh: Weigh) -> Tensor:
    cell, synthetic = evidence.synthetic_cell, evidence.synthetic_appearance
    normal, test = evidence.normal_appearance, evidence.test_appearance
    if cell is None or synthetic is None or normal is None or test is None:
        return evidence.nowhere()
    if len(cell) == 0 or evidence.test_scores.shape[1] < 2:
        return evidence.nowhere()
    return weighted_validation(evidence, cell, weigh(normal, test, synthetic, cell))


_NEEDS = SCORES | {
    "synthetic_cell",
    "normal_appearance",
    "test_appearance",
    "synthetic_appearance",
}

_KINDS: tuple[tuple[str, str, str, Weigh], ...] = (
    (
        "aligned",
        "by their alignment with the unlabelled batch",
        "ours; after ST-SSAD, Eq. 3, and Fung et al., SWSA",
        loss_weights,
    ),
    (
        "matched",
        "as the mixture that resembles the unlabelled batch",
        "ours; after Fung et al., SWSA",
        mixture_weights,
    ),
    (
        "resembling",
        "by their likeness to what is unusual in the batch",
        "ours; after Fung et al., SWSA",
        resemblance_weights,
    ),
)

for _name, _how, _source, _weigh in _KINDS:
    register_criterion(
        Criterion(
            name=f"{_name}_synthetic_validation",
            title=f"AUROC on synthetic defects, weighted {_how}",
            direction="maximize",
            source=_source,
            sees_scoring=True,
            evaluate=partial(_weighted, weigh=_weigh),
            needs=_NEEDS,
            invariances=frozenset({"shift", "scale", "monotone"}),
        )
    )
