"""DSV: whether clean and corrupted images together lie where the unlabelled batch does.

Yoo and others, "DSV: An Alignment Validation Loss for Self-supervised Outlier Model Selection"
(2023), the predecessor of ST-SSAD's validation loss.
"""

from __future__ import annotations

import torch
from torch import Tensor

from methods.criteria.alignment import uncorrupted
from methods.criteria.contract import Criterion, Evidence
from methods.criteria.registry import register_criterion

_MOST_SEPARATION = 0.5
_ROUNDING = 1e-6


def half_distance(one: Tensor, other: Tensor) -> Tensor:
    """Half of the mean distance between a row of one `[N, D]` and one of the other `[M, D]`."""
    return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist").mean() / 2


def dsv(train: Tensor, corrupted: Tensor, test: Tensor) -> Tensor:
    """`L_dis - L_sep / L_dis` of embeddings `[., D]`, lower is better: scalar.

    With d as in `half_distance`, `L_dis = d(train and corrupted, test) / d(train, corrupted)` is
    discordance, and `L_sep`, separability, the spread of the batch along the directions in which
    single corrupted images lie from the mean clean one, over d(train, corrupted), at most 1/2. As
    many corrupted rows are used as clean ones: the authors' code takes their number from the share
    of anomalies in the batch, which nobody knows here. Invariant to shift, scale and rotation. NaN
    where an embedding has no extent, or the corruption does nothing. Raises ValueError for an empty
    set.
    """
    count = min(len(train), len(corrupted))
    if count == 0 or len(test) == 0:
        raise ValueError(
            f"there are {len(train)} clean, {len(corrupted)} corrupted and {len(test)} unlabelled"
            " embeddings, but at least one of each is needed"
        )
    train, corrupted = train[:count], corrupted[:count]
    between = half_distance(train, corrupted)
    discordance = half_distance(torch.cat((train, corrupted)), test) / between
    centre = train.mean(0)
    directions = corrupted - centre
    lengths = torch.linalg.vector_norm(directions, dim=1)
    # A row that corruption did not move has no direction.
    moved = lengths > _ROUNDING * between
    if not bool(moved.any()):
        return train.new_full((), torch.nan)
    units = directions[moved] / lengths[moved, None]
    spread = ((test - centre) @ units.T).std(correction=0)
    separability = (spread / between).clamp(max=_MOST_SEPARATION)
    return discordance - separability / discordance


def _evaluate(evidence: Evidence) -> Tensor:
    if uncorrupted(evidence):
        return evidence.nowhere()
    value = dsv(
        evidence.train_embeddings.detach().to(torch.float64),
        evidence.corrupted_embeddings.detach().to(torch.float64),
        evidence.test_embeddings.detach().to(torch.float64),
    )
    return value.expand(len(evidence.test_scores)).clone()


register_criterion(
    Criterion(
        name="dsv",
        title="DSV: distance of clean and corrupted embeddings from the batch, and its spread",
        direction="minimize",
        source="DSV (Yoo et al., 2023); equal numbers of clean and corrupted images",
        sees_scoring=False,
        evaluate=_evaluate,
        needs=frozenset({"train_embeddings", "corrupted_embeddings", "test_embeddings"}),
        invariances=frozenset({"shift", "scale", "monotone"}),
    )
)
