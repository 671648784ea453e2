"""A trained feature autoencoder as a detector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from methods.backbones.space import FeatureSpace, OverBackbone
from methods.contract import Precision, Scoring
from methods.feature_autoencoder.hyperparameters import SCORING
from methods.feature_autoencoder.network import GridAutoencoder
from methods.onepass import OnePass
from methods.scoring import levels, tier
from methods.scoring.normalisation import MapStatistics, packed, unpacked
from methods.state import below, under
from methods.training.embedding import Standardiser

_BATCH = 32
_TOP = 0.01
_SMALLEST = 1e-3


class FeatureDetector(OverBackbone):
    """Scores images by what the autoencoder would change in their features.

    Images are float `[B, 3, H, W]` in [0, 1] of the training images' size. `statistics` and
    `spread` come from held-out normals, `standardiser` from training ones.
    """

    def __init__(
        self,
        space: FeatureSpace,
        network: GridAutoencoder,
        size: tuple[int, int],
        precision: Precision = "float32",
    ) -> None:
        self.space, self.size, self.precision = space, size, precision
        self.network = network.eval().requires_grad_(False)
        self.statistics: dict[str, MapStatistics] = {}
        self.spread = torch.ones_like(space.centre)
        self.standardiser: Standardiser | None = None

    @torch.inference_mode()
    def calibrate(self, train: Tensor, held_out: Tensor) -> bool:
        """Measure the scales of maps and embedding on standardised features `[N, C, h, w]` of
        training and of held-out normals; whether all are finite."""
        residual = torch.cat([self._residual(part) for part in held_out.split(_BATCH)])
        self.spread = levels.spread_of(residual)
        names = levels.all_names(self.space.slices)
        raw = levels.compared(residual, held_out, names, self.space.slices, self.spread)
        self.statistics = levels.statistics_of(raw)
        parts = [blocks(part, self._residual(part)) for part in train.split(_BATCH)]
        self.standardiser = Standardiser.measured(
            *(torch.cat(part) for part in zip(*parts, strict=True))
        )
        return bool(self.spread.isfinite().all() & self.standardiser.centre.isfinite().all())

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """`[B, 3 C]`: mean features, and mean and largest residuals of each channel. Raises
        RuntimeError before `calibrate`."""
        if self.standardiser is None:
            raise RuntimeError("the embedding has no scale yet; call calibrate first")
        scaled = self.standardiser
        return torch.cat([scaled(*blocks(z, r)) for z, r in self._features(images)])

    @torch.inference_mode()
    def maps(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B, H, W]`, enlarged from the grid; higher is more anomalous."""
        return torch.cat(
            [self._judged((z, r), self._plan(scoring))[1] for z, r in self._features(images)]
        )

    def scores(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B]`."""
        return self.grid_scores(images, [scoring])[0]

    @torch.inference_mode()
    def grid_scores(self, images: Tensor, grid: Sequence[Scoring]) -> Tensor:
        """`[S, B]` from one pass through both networks."""
        plans = [self._plan(scoring) for scoring in grid]
        names = {plan.raw for plan in plans}
        parts = [
            tier.grid_scores(
                levels.compared(r, z, names, self.space.slices, self.spread),
                plans,
                self.statistics,
            )
            for z, r in self._features(images)
        ]
        return torch.cat(parts, 1)

    def one_pass(self, scoring: Scoring) -> OnePass:
        """Scores and maps at once, in float32, the backbone within; see `methods.onepass`."""
        plan, backbone = self._plan(scoring), self.backbone

        def both(images: Tensor) -> tuple[Tensor, Tensor]:
            z = self.space.standardised(self.space.extractor.seen(images))
            return z, self.network(z) - z

        return OnePass(
            nn.ModuleList([backbone, self.network]),
            both,
            lambda images, found: self._judged(found, plan),
        )

    def weights(self) -> dict[str, Tensor]:
        """All but the backbone's weights, of which only the digest is kept."""
        found = {
            **under("network", self.network.state_dict()),
            **self.space.weights(),
            **under("statistics", packed(self.statistics)),
            "spread": self.spread.cpu().clone(),
            "size": torch.tensor(self.size),
            "bfloat16": torch.tensor(self.precision == "bfloat16"),
        }
        if self.standardiser is not None:
            found |= under("embedding", self.standardiser.tensors())
        return found

    @classmethod
    def from_weights(
        cls, values: Mapping[str, Any], weights: Mapping[str, Tensor]
    ) -> FeatureDetector:
        """The detector that `weights` came from, on the CPU and in the same precision."""
        space = FeatureSpace.restored(values, weights)
        network = GridAutoencoder(
            sum(space.extractor.channels),
            values["width"],
            values["bottleneck"],
            values["depth"],
            seed=0,
        )
        network.load_state_dict(below("network", weights))
        height, width = (int(n) for n in weights["size"])
        precision: Precision = "bfloat16" if bool(weights["bfloat16"]) else "float32"
        space.extractor.precision = precision
        found = cls(space, network, (height, width), precision)
        found.statistics = unpacked(below("statistics", weights))
        found.spread = weights["spread"]
        found.standardiser = Standardiser.from_tensors(below("embedding", weights))
        return found

    def _plan(self, scoring: Scoring) -> tier.MapPlan:
        grid = self.space.extractor.grid(self.size)
        return levels.plan_of(scoring, SCORING, self.space.slices, grid)

    def _judged(self, found: tuple[Tensor, Tensor], plan: tier.MapPlan) -> tuple[Tensor, Tensor]:
        z, residual = found
        raw = levels.compared(residual, z, [plan.raw], self.space.slices, self.spread)
        scores, maps = tier.judged(raw[plan.raw], plan, self.statistics)
        return scores, levels.enlarged(maps, self.size)

    def _features(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Standardised features and residuals, a part of the images at a time."""
        for part in images.split(_BATCH):
            z = self.space(part)
            yield z, self._residual(z)

    def _residual(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            output = self.network(z)
        return output.float() - z


def blocks(z: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    """Mean features `[B, C]`, and the logarithms of mean and largest hundredth of the residuals'
    size `[B, 2 C]`; see `methods.training.embedding` for why both."""
    size = residual.abs().flatten(2)
    top = max(1, round(_TOP * size.shape[2]))
    sizes = torch.cat((size.mean(2), size.topk(top, 2).values.mean(2)), 1)
    return z.mean((2, 3)), (sizes + _SMALLEST).log()
