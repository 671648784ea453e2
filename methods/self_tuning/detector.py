"""A trained network as a detector: how far an embedding lies from the normal ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from methods.contract import Scoring, unit
from methods.networks.resnet import ProjectionNetwork
from methods.onepass import OnePass
from methods.scoring import density
from methods.scoring.density import GaussianDensity
from methods.self_tuning.network import build_network
from methods.state import below, under

_BATCH = 64
_DEFAULT = "mahalanobis"


class DensityDetector:
    """Scores images by a Gaussian of normal embeddings (ST-SSAD, section 4).

    The Gaussian has the mean and the Ledoit-Wolf covariance of clean training embeddings. Images
    are float `[B, 3, H, W]` in [0, 1], any number of them. Results are float32 on the network's
    device; the network works with its running statistics, so that no image knows of another.
    """

    def __init__(
        self, network: ProjectionNetwork, size: tuple[int, int], gaussian: GaussianDensity
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.size = size
        self.gaussian = gaussian

    @classmethod
    def fitted(cls, network: ProjectionNetwork, train: Tensor) -> tuple[DensityDetector, Tensor]:
        """With the Gaussian of clean training images, uint8 `[N, 3, H, W]`, N at least 2; and their
        embeddings `[N, D]`."""
        network = network.eval().requires_grad_(False)
        rows = torch.cat([embeddings(network, unit(part)) for part in train.split(_BATCH)])
        size = (int(train.shape[2]), int(train.shape[3]))
        return cls(network, size, density.fit(rows)), rows

    def embed(self, images: Tensor) -> Tensor:
        """`[B, 8 * width]`, of unit length where the method says so."""
        return embeddings(self.network, images)

    def scores(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B]`."""
        return self.grid_scores(images, [scoring])[0]

    def grid_scores(self, images: Tensor, grid: Sequence[Scoring]) -> Tensor:
        """`[S, B]` from one pass through the network.

        Raises ValueError for a `density_score` other than mahalanobis and nll.
        """
        rows = self.embed(images)
        kinds = [str(scoring.get("density_score", _DEFAULT)) for scoring in grid]
        found = {kind: self._score(kind, rows) for kind in dict.fromkeys(kinds)}
        return torch.stack([found[kind] for kind in kinds])

    def one_pass(self, scoring: Scoring) -> OnePass:
        """Scores; see `methods.onepass`. Raises ValueError as `grid_scores` does."""
        kind = str(scoring.get("density_score", _DEFAULT))
        self._score(kind, self.gaussian.mean[None])

        def score(images: Tensor, rows: Tensor) -> tuple[Tensor]:
            return (self._score(kind, rows),)

        return OnePass(self.network, lambda images: self.network(images).embedding.float(), score)

    def weights(self) -> dict[str, Tensor]:
        """Network, Gaussian and image size."""
        network = under("network", self.network.state_dict())
        return {
            **network,
            **under("gaussian", vars(self.gaussian)),
            "size": torch.tensor(self.size),
        }

    @classmethod
    def from_weights(
        cls, weights: Mapping[str, Tensor], values: Mapping[str, Any]
    ) -> DensityDetector:
        """The detector that `weights` came from, on the CPU."""
        height, width = (int(n) for n in weights["size"])
        network = build_network(values, (height, width), seed=0)
        network.load_state_dict(below("network", weights))
        return cls(network, (height, width), GaussianDensity(**below("gaussian", weights)))

    def _score(self, kind: str, rows: Tensor) -> Tensor:
        kinds = {"mahalanobis": self.gaussian.mahalanobis, "nll": self._nll}
        if kind not in kinds:
            raise ValueError(f"density_score is {kind!r}, but must be one of: {', '.join(kinds)}")
        return kinds[kind](rows).to(torch.float32)

    def _nll(self, rows: Tensor) -> Tensor:
        return self.gaussian.squared(rows) / 2 + self._least_nll

    @cached_property
    def _least_nll(self) -> Tensor:
        """The negative log-likelihood at the mean, which takes an eigendecomposition."""
        return self.gaussian.nll(self.gaussian.mean[None])


@torch.inference_mode()
def embeddings(network: ProjectionNetwork, images: Tensor) -> Tensor:
    """`[B, D]`, a part at a time, on the network's device and in its mode."""
    device = next(network.parameters()).device
    parts = [network(part.to(device)).embedding.float() for part in images.split(_BATCH)]
    return torch.cat(parts)
