"""How far an embedding lies from a Gaussian fitted to normal embeddings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GaussianDensity:
    """A Gaussian by its mean `[D]` and precision `[D, D]`, both float64."""

    mean: Tensor
    precision: Tensor

    def mahalanobis(self, z: Tensor) -> Tensor:
        """Distance of embeddings `[B, D]` from the mean in standard deviations: `[B]` >= 0."""
        return self.squared(z).sqrt()

    def nll(self, z: Tensor) -> Tensor:
        """Negative log-likelihood of `[B, D]` in nats: `[B]` (ST-SSAD: the anomaly score).

        It ranks like `mahalanobis` but its variance differs. Directions in which the fitted data
        had no spread at all carry no density and are left out.
        """
        spread = torch.linalg.eigvalsh(self.precision)
        spread = spread[spread > spread.max() * 1e-14]
        constant = len(spread) * math.log(2 * math.pi) - spread.log().sum()
        return (self.squared(z) + constant) / 2

    def squared(self, z: Tensor) -> Tensor:
        """Squared Mahalanobis distance of `[B, D]`, float64 `[B]`."""
        centred = z.to(self.mean) - self.mean
        return ((centred @ self.precision) * centred).sum(1).clamp(min=0)


def shrinkage(embeddings: Tensor) -> tuple[Tensor, float]:
    """Covariance `[D, D]` of `[N, D]` and the Ledoit-Wolf intensity in [0, 1].

    O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
    2004: the share of the scaled identity that brings the estimate nearest to the true covariance.
    """
    count, width = embeddings.shape
    centred = embeddings - embeddings.mean(0)
    covariance = centred.T @ centred / count
    scale = covariance.trace() / width
    squares = covariance.square().sum()
    # Mean squared distance of single outer products from the covariance, over their number.
    noise = (centred.square().sum(1).square().sum() / count - squares) / (count * width)
    distance = squares / width - scale.square()
    if float(distance) <= 0:
        return covariance, 0.0
    return covariance, float((noise.clamp(min=0) / distance).clamp(max=1))


def fit(embeddings: Tensor) -> GaussianDensity:
    """Mean and Ledoit-Wolf precision of embeddings `[N, D]`, in float64.

    The shrunk covariance has full rank even for fewer samples than dimensions; embeddings that are
    all alike give precision 0, and with it distance 0. Raises ValueError for anything but a finite
    `[N, D]` with at least 2 rows.
    """
    if embeddings.ndim != 2 or len(embeddings) < 2:
        raise ValueError(
            f"embeddings are {list(embeddings.shape)}, but a density needs [N, D] with N >= 2"
        )
    samples = embeddings.detach().to(torch.float64)
    if not bool(torch.isfinite(samples).all()):
        raise ValueError("embeddings hold values that are not finite; check the network's training")
    covariance, intensity = shrinkage(samples)
    scale = covariance.trace() / covariance.shape[0]
    identity = torch.eye(covariance.shape[0], dtype=torch.float64, device=covariance.device)
    shrunk = (1 - intensity) * covariance + intensity * scale * identity
    return GaussianDensity(samples.mean(0), torch.linalg.pinv(shrunk, hermitian=True))
