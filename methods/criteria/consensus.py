"""Criteria that ask which of several candidates rank the unlabelled images as the others do.

A candidate is a trial, or a trial under one scoring setting; only the order of its scores counts.
Ties count as usual (tau-b, mean ranks). A majority may be wrong: a consensus is worth no more than
most of its candidates. `CONSENSUS` holds the criteria by name.

Centrality, HITS and SELECT are those that Ma, Zhao and others compare (UOMS, SIGKDD Explorations
2023). Rank 1 is the most anomalous image here; ranked the other way round, as a public script has
it, the weight of `1 / rank` would lie on the images about which nobody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from methods.criteria.contract import StudyCriterion

FEWEST = 3
# Pairs of images whose order all candidates are asked about at a time.
_PAIRS = 1 << 12


def descending_ranks(scores: Tensor) -> Tensor:
    """Ranks `[T, M]` of scores, 1 the highest, mean ranks where scores are equal: float64."""
    rows = -scores.detach().cpu().to(torch.float64).contiguous()
    ordered = rows.sort(1).values
    # Of equal scores, the mean of the first and the last rank.
    below, not_above = (torch.searchsorted(ordered, rows, right=right) for right in (False, True))
    ranks = (below + not_above + 1).to(torch.float64) / 2
    return ranks.masked_fill(rows.isnan().any(1, keepdim=True), torch.nan)


def rank_agreement(scores: Tensor) -> Tensor:
    """How far each of T candidates ranks M images as the others do: `[T]` in [-1, 1] of `[T, M]`.

    Spearman's correlation of a candidate's ranks with the mean ranks of the others; well below 0
    is an inverted detector, or a lonely one. NaN for one whose scores are all equal. Raises
    ValueError for fewer than 3 candidates, where a majority means nothing.
    """
    if scores.ndim != 2 or len(scores) < FEWEST:
        raise ValueError(
            f"scores are {list(scores.shape)}, but a consensus needs [T, M] of 3 trials or more"
        )
    ranks = descending_ranks(scores)
    return agreement_with(ranks, ranks.sum(0) - ranks)


def agreement_with(ranks: Tensor, others: Tensor) -> Tensor:
    """Pearson's correlation of ranks `[..., M]` with the sum of other ranks `[..., M]`: `[...]`."""
    own = ranks - ranks.mean(-1, keepdim=True)
    centred = others - others.mean(-1, keepdim=True)
    lengths = torch.linalg.vector_norm(own, dim=-1) * torch.linalg.vector_norm(centred, dim=-1)
    return (own * centred).sum(-1) / lengths


def kendall(scores: Tensor, target: Tensor) -> Tensor:
    """Kendall's tau-b of each row of `[T, M]` with `[M]`: float64 `[T]`, NaN where one is equal."""
    rows = scores.detach().cpu().to(torch.float64)
    common, own, other = (torch.zeros(len(rows), dtype=torch.float64) for _ in range(3))
    aim = target.detach().cpu().to(torch.float64)[None]
    for first, second in _pairs(rows.shape[1]):
        signs, wanted = _order(rows, first, second), _order(aim, first, second)
        common += signs @ wanted[0]
        own += signs.abs().sum(1)
        other += wanted.abs().sum(1)
    return common / (own * other).sqrt()


def model_centrality(scores: Tensor) -> Tensor:
    """Mean Kendall's tau-b of each of T candidates with the others: `[T]` of `[T, M]`.

    NaN for a candidate whose scores are all equal, and for all where there is one; see `judged`.
    """
    rows = scores.detach().cpu().to(torch.float64)
    untied, value = (torch.zeros(len(rows), dtype=torch.float64) for _ in range(2))
    for first, second in _pairs(rows.shape[1]):
        untied += _order(rows, first, second).abs().sum(1)
    # The sum of tau over all candidates is one product with the sum of their unit rows.
    for first, second in _pairs(rows.shape[1]):
        unit = _order(rows, first, second) / untied.sqrt()[:, None]
        value += unit @ unit.sum(0)
    return (value - 1) / (len(rows) - 1)


def hits(scores: Tensor) -> Tensor:
    """Hubness of T candidates: `[T]` of `[T, M]`, at least 0, its squares sum to 1.

    With weights `1 / rank` from candidates to images, a good candidate points to images that good
    candidates point to (Kleinberg's HITS): the first left singular vector of the weights.
    """
    return torch.linalg.svd(1 / descending_ranks(scores), full_matrices=False).U[:, 0].abs()


def select(scores: Tensor) -> Tensor:
    """Kendall's tau-b of each of T candidates with a consensus of those that agree: `[T]`.

    After SELECT (Rayana and Akoglu, 2016), as UOMS has it: the consensus of `1 / rank` begins with
    the candidate that is nearest the mean of all. The others are offered in the order of their
    nearness, and one is taken in where its tau with the mean of those taken is no less than the
    mean of the taus so far.
    """
    weights = 1 / descending_ranks(scores)
    near = kendall(weights, weights.mean(0))
    order = near.argsort(descending=True, stable=True).tolist()
    total, taus = weights[order[0]].clone(), [float(near[order[0]])]
    for index in order[1:]:
        tau = float(kendall(weights[index : index + 1], total)[0])
        if tau >= sum(taus) / len(taus):
            total += weights[index]
            taus.append(tau)
    return kendall(weights, total)


def judged(consensus: Callable[[Tensor], Tensor], scores: Tensor) -> Tensor:
    """A consensus among the candidates that have one, float64 `[T]` of `[T, M]`.

    NaN for candidates whose scores are all equal or not all finite, and for all where fewer than 3
    others are left: a majority of two means nothing.
    """
    if scores.ndim != 2:
        raise ValueError(f"scores are {list(scores.shape)}, but must be [T, M]")
    value = torch.full((len(scores),), torch.nan, dtype=torch.float64)
    rows = scores.detach().cpu().to(torch.float64)
    if rows.shape[1] < 2:
        return value
    able = torch.isfinite(rows).all(1) & (rows.amax(1) > rows.amin(1))
    if int(able.sum()) >= FEWEST:
        value[able] = consensus(rows[able])
    return value


def _pairs(images: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All pairs of images, some at a time, so that memory stays bounded."""
    first, second = torch.triu_indices(images, images, 1)
    yield from zip(first.split(_PAIRS), second.split(_PAIRS), strict=True)


def _order(rows: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return (rows[:, first] - rows[:, second]).sign()


def _criterion(name: str, title: str, source: str, of: Callable[[Tensor], Tensor]) -> None:
    CONSENSUS[name] = StudyCriterion(name, title, source, lambda scores: judged(of, scores))


CONSENSUS: dict[str, StudyCriterion] = {}

_UOMS = "UOMS (Ma et al., 2023), ranked from the most anomalous image"
_criterion(
    "rank_agreement", "rank correlation with the mean rank of the others", "ours", rank_agreement
)
_criterion("model_centrality", "mean rank correlation with the others", _UOMS, model_centrality)
_criterion("hits", "points to images that good candidates point to", _UOMS, hits)
_criterion("select", "rank correlation with those that agree", _UOMS, select)
