"""Several criteria as one, several trials as one, and picks that do not hang on one number.

Criteria come as `[K, T]`, K criteria of T candidates, higher better (see `oriented`), NaN where one
does not apply. Such a one is left out for that candidate: it counts neither for nor against it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from methods.criteria.consensus import descending_ranks, judged, model_centrality
from methods.criteria.contract import Direction


def oriented(values: Tensor, directions: Sequence[Direction]) -> Tensor:
    """`[K, T]` with the sign of criteria that are minimised turned: float64, higher is better.

    Infinite values become NaN. Raises ValueError where there is not one direction for each.
    """
    if values.ndim != 2 or len(values) != len(directions):
        raise ValueError(
            f"values are {list(values.shape)} with {len(directions)} directions, but must be "
            "[K, T] with K directions"
        )
    signs = torch.tensor([1.0 if d == "maximize" else -1.0 for d in directions])
    turned = values.detach().cpu().to(torch.float64) * signs[:, None]
    return turned.masked_fill(~torch.isfinite(turned), torch.nan)


def rank_shares(values: Tensor) -> Tensor:
    """The share of the other candidates that each beats, ties half: float64 `[K, T]` in [0, 1].

    Among the candidates that a criterion applies to; NaN for the others, and where there is one.
    """
    rows = values.detach().cpu().to(torch.float64)
    shares = torch.full_like(rows, torch.nan)
    for row, share in zip(rows, shares, strict=True):
        known = ~row.isnan()
        count = int(known.sum())
        if count > 1:
            ranks = descending_ranks(-row[None, known])[0]
            share[known] = (ranks - 1) / (count - 1)
    return shares


def borda(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Weighted mean over criteria of `rank_shares`: float64 `[T]` in [0, 1], higher is better.

    `weights` `[K]`, at least 0, all alike where None. NaN for a candidate to which no criterion of
    positive weight applies. Raises ValueError for weights of another shape or below 0.
    """
    shares = rank_shares(values)
    if weights is None:
        weights = torch.ones(len(shares), dtype=torch.float64)
    if tuple(weights.shape) != (len(shares),) or bool((weights < 0).any()):
        raise ValueError(
            f"weights are {weights.tolist()}, but must be {len(shares)} numbers of at least 0"
        )
    there = (~shares.isnan()).to(torch.float64) * weights.to(torch.float64)[:, None]
    total = there.sum(0)
    return (shares.nan_to_num() * there).sum(0) / total.masked_fill(total == 0, torch.nan)


def agreement_weights(values: Tensor) -> Tensor:
    """How far each criterion ranks the candidates as the others do: float64 `[K]`, at least 0.

    Mean Spearman correlation with the other criteria over the candidates that both apply to,
    0 where it is negative or unknown. For `borda`: what stands alone counts little.
    """
    correlations = rank_correlations(values)
    correlations.fill_diagonal_(torch.nan)
    return correlations.nanmean(1).nan_to_num(0.0).clamp(min=0)


def rank_correlations(values: Tensor) -> Tensor:
    """Spearman's correlation of any two criteria `[K, T]`: float64 `[K, K]`.

    Over the candidates that both apply to; NaN for fewer than 3 of them, or equal values.
    """
    rows = values.detach().cpu().to(torch.float64)
    found = torch.full((len(rows), len(rows)), torch.nan, dtype=torch.float64)
    for i, one in enumerate(rows):
        for j, other in enumerate(rows[: i + 1]):
            both = ~(one.isnan() | other.isnan())
            if int(both.sum()) >= 3:
                pair = descending_ranks(torch.stack((one[both], other[both])))
                found[i, j] = found[j, i] = torch.corrcoef(pair)[0, 1]
    return found


def best(values: Tensor) -> int:
    """Index of the highest of `[T]`, the earliest of equal ones; NaN never wins.

    Raises ValueError where all are NaN.
    """
    if bool(values.isnan().all()):
        raise ValueError(f"none of {len(values)} candidates has a value")
    return int(values.nan_to_num(-torch.inf).argmax())


def top(values: Tensor, k: int) -> list[int]:
    """Indices of the k highest of `[T]`, best first, fewer where fewer have a value."""
    order = values.nan_to_num(-torch.inf).argsort(descending=True, stable=True).tolist()
    return [index for index in order if not bool(values[index].isnan())][:k]


def robust_pick(values: Tensor, consensus: Tensor, k: int = 5) -> int:
    """Of the k best by a criterion `[T]` the one with the highest consensus `[T]`: its index.

    The best by the criterion where none of them has a consensus. Raises ValueError where no
    candidate has a value.
    """
    chosen = top(values, k)
    if not chosen or bool(consensus[chosen].isnan().all()):
        return best(values)
    return chosen[best(consensus[chosen])]


def ensemble_scores(scores: Tensor, reference: Tensor | None = None) -> Tensor:
    """Rank-averaged scores of k detectors: float64 `[M]` in [0, 1] of `[k, M]`.

    For each detector the share of its reference scores `[k, R]` that lie below, ties half; the mean
    over detectors. The reference is the batch itself where None; one that was kept makes the score
    of an image the same whatever it is scored with.
    """
    rows = scores.detach().to(torch.float64).contiguous()
    known = (rows if reference is None else reference.to(rows)).sort(1).values
    below = torch.searchsorted(known, rows)
    not_above = torch.searchsorted(known, rows, right=True)
    return ((below + not_above).to(torch.float64) / (2 * known.shape[1])).mean(0)


def seed_stability(scores: Tensor) -> float:
    """Mean Kendall's tau-b between trainings that differ in their seed only: scores `[R, M]`.

    1 where all rank the images alike; NaN for fewer than 2 or equal scores.
    """
    if len(scores) == 2:
        return float(model_centrality(scores)[0])
    return float(judged(model_centrality, scores).mean())


def top_overlap(scores: Tensor, k: int) -> float:
    """Mean share of their k highest images that two of R trainings `[R, M]` have in common.

    For sets of equal size this is the Fowlkes-Mallows index. NaN for fewer than 2 trainings;
    raises ValueError for k outside 1 to M.
    """
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k is {k}, but must be from 1 to the {scores.shape[1]} images")
    sets = torch.zeros(scores.shape, dtype=torch.float64, device=scores.device)
    sets.scatter_(1, scores.topk(k, dim=1).indices, 1.0)
    common = sets @ sets.T / k
    count = len(scores)
    return float((common.sum() - count) / (count * (count - 1))) if count > 1 else float("nan")
