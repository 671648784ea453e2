"""Criteria that ask whether corrupted images embed where the batch's anomalies do.

What the validation loss of ST-SSAD measures, for sets that are single points (normal images and
corrupted images one point each, the batch a share `rho` of anomalies):

- aligned (corrupted images at the anomalies) it is `1 / (2 sqrt(q (1 - q)))`, where q is the share
  of all N embeddings that lie at the anomalies, `q = (n_corrupted + rho n_test) / N`. It is 1 for
  sets of equal size and rho = 1/2 (ST-SSAD, Lemma 1), and a minimum there (Lemma 2);
- collapsed (the corruption does nothing) it is `rho / sqrt(p (1 - p))`, `p = rho n_test / N`.

Collapse is the lower of the two where anomalies are rare, under the share that
`collapse_threshold` returns. A spread-out set of corrupted images lowers the loss as well. So it
steers one run from a start that already does something, but values of two runs are not to be
compared, and below the threshold its minimum is "no corruption".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from methods.criteria.contract import Criterion, Evidence
from methods.criteria.registry import register_criterion

Kernel = Literal["linear", "gaussian"]


def tpsd_normalise(train: Tensor, corrupted: Tensor, test: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centre three sets `[., D]` together and scale their mean squared norm to 1.

    The total pairwise squared distance of all N rows becomes `2 N^2` (ST-SSAD, Eq. 2).
    Differentiable, the scale included: held constant it would no longer keep embeddings from
    collapsing. NaN where all rows are equal.
    """
    together = torch.cat((train, corrupted, test))
    centred = together - together.mean(0)
    scaled = centred * (math.sqrt(len(centred)) / torch.linalg.vector_norm(centred))
    parts = scaled.split([len(train), len(corrupted), len(test)])
    return parts[0], parts[1], parts[2]


def validation_loss(train: Tensor, corrupted: Tensor, test: Tensor) -> Tensor:
    """Mean distance of test embeddings from the mean clean and the mean corrupted one: scalar.

    ST-SSAD, Eq. 3, averaged over the test rows, without which Lemma 1 would not hold, after the
    normalisation of Eq. 2. Sets are `[., D]`; differentiable in all three. Invariant to shift,
    scale and rotation of the embedding. Raises ValueError for an empty set.
    """
    for name, rows in (("train", train), ("corrupted", corrupted), ("test", test)):
        if rows.ndim != 2 or len(rows) == 0:
            raise ValueError(
                f"{name} embeddings are {list(rows.shape)}, but must be [N, D] with N >= 1"
            )
    train, corrupted, test = tpsd_normalise(train, corrupted, test)
    to_clean = torch.linalg.vector_norm(test - train.mean(0), dim=1)
    to_corrupted = torch.linalg.vector_norm(test - corrupted.mean(0), dim=1)
    return (to_clean + to_corrupted).mean() / 2


def mmd(
    train: Tensor,
    corrupted: Tensor,
    test: Tensor,
    kernel: Kernel = "linear",
    normalise: bool = True,
) -> Tensor:
    """Squared maximum mean discrepancy between clean and corrupted together and test: scalar >= 0.

    The two ablations of ST-SSAD, with and without the normalisation of Eq. 2. The kernel is not
    named there: `linear` is the squared distance of the means, `gaussian` is
    `exp(-d^2 / (2 m))` with m the median squared distance of two different rows (biased estimate,
    bandwidth held constant). Differentiable.
    """
    if normalise:
        train, corrupted, test = tpsd_normalise(train, corrupted, test)
    known = torch.cat((train, corrupted))
    if kernel == "linear":
        return (known.mean(0) - test.mean(0)).square().sum()
    if kernel != "gaussian":
        raise ValueError(f"kernel is {kernel!r}, but must be one of: linear, gaussian")
    rows = torch.cat((known, test))
    lengths = rows.square().sum(1)
    squared = (lengths[:, None] + lengths - 2 * rows @ rows.T).clamp(min=0)
    upper = torch.triu_indices(len(rows), len(rows), 1, device=rows.device)
    bandwidth = squared.detach()[upper[0], upper[1]].median()
    similarity = torch.exp(-squared / (2 * bandwidth))
    n = len(known)
    within = similarity[:n, :n].mean() + similarity[n:, n:].mean()
    return (within - 2 * similarity[:n, n:].mean()).clamp(min=0)


@dataclass(frozen=True)
class Alignment:
    """The loss that a learned augmentation descends: ST-SSAD, Eq. 3, or one of the paper's
    ablations, a maximum mean discrepancy by a kernel."""

    kind: str = "validation_loss"
    kernel: Kernel = "linear"

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Alignment:
        """From the hyperparameters `alignment` and `mmd_kernel`."""
        return cls(values["alignment"], values["mmd_kernel"])

    def __call__(self, train: Tensor, augmented: Tensor, test: Tensor) -> Tensor:
        """Scalar, of embeddings `[., D]`."""
        if self.kind == "validation_loss":
            return validation_loss(train, augmented, test)
        return mmd(train, augmented, test, self.kernel, self.kind == "mmd")


def uncorrupted(evidence: Evidence) -> bool:
    """Whether a method has no corruption: its corrupted images are the clean ones."""
    return torch.equal(evidence.train_embeddings, evidence.corrupted_embeddings)


def aligned_loss(share: float, n_train: int, n_corrupted: int, n_test: int) -> float:
    """The loss of point sets where corrupted images lie at the anomalies, a share of the test."""
    q = (n_corrupted + share * n_test) / (n_train + n_corrupted + n_test)
    return 0.5 / math.sqrt(q * (1 - q))


def collapsed_loss(share: float, n_train: int, n_corrupted: int, n_test: int) -> float:
    """The loss of point sets where corrupted images lie at the normal ones."""
    p = share * n_test / (n_train + n_corrupted + n_test)
    return share / math.sqrt(p * (1 - p))


def collapse_threshold(n_train: int, n_corrupted: int, n_test: int) -> float:
    """The share of anomalies in the test set below which collapse has the lower loss: (0, 1].

    Point sets of the given sizes; solved numerically. 1 means that collapse wins at any share.
    Raises ValueError for an empty set.
    """
    sizes = (n_train, n_corrupted, n_test)
    if min(sizes) < 1:
        raise ValueError(f"set sizes are {sizes}, but each must be at least 1")

    def collapse_wins(share: float) -> bool:
        return collapsed_loss(share, *sizes) < aligned_loss(share, *sizes)

    # Very uneven sets have a second crossing near 1, so the first one is looked for in steps.
    steps = 1000
    first = next((i for i in range(1, steps + 1) if not collapse_wins(i / steps)), None)
    if first is None:
        return 1.0
    low, high = (first - 1) / steps, first / steps
    for _ in range(50):
        middle = (low + high) / 2
        if collapse_wins(middle):
            low = middle
        else:
            high = middle
    return high


def _evaluate(evidence: Evidence) -> Tensor:
    if uncorrupted(evidence):
        return evidence.nowhere()
    loss = validation_loss(
        evidence.train_embeddings.detach().to(torch.float64),
        evidence.corrupted_embeddings.detach().to(torch.float64),
        evidence.test_embeddings.detach().to(torch.float64),
    )
    return loss.expand(len(evidence.test_scores)).clone()


register_criterion(
    Criterion(
        name="validation_loss",
        title="distance of corrupted and clean embeddings from the unlabelled batch",
        direction="minimize",
        source="ST-SSAD, Eq. 2 and 3",
        sees_scoring=False,
        evaluate=_evaluate,
        needs=frozenset({"train_embeddings", "corrupted_embeddings", "test_embeddings"}),
        invariances=frozenset({"shift", "scale", "monotone"}),
    )
)
