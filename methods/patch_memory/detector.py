"""Scores positions by their distance from remembered features of normal images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from methods.backbones.space import FeatureSpace, OverBackbone
from methods.contract import Scoring
from methods.onepass import OnePass
from methods.scoring import levels, tier
from methods.scoring.levels import MAP_SCORING
from methods.scoring.normalisation import MapStatistics, packed, unpacked
from methods.state import below, on_cpu, under
from methods.training.embedding import Standardiser

_BATCH = 32
_ROWS = 1 << 13
_TOP = 0.01
_SMALLEST = 1e-3


class PatchMemoryDetector(OverBackbone):
    """`memory` `[K, C]` holds standardised features of normal images.

    Images are float `[B, 3, H, W]` in [0, 1] of the training images' size. `statistics` of the
    maps come from held-out normals.
    """

    def __init__(self, space: FeatureSpace, memory: Tensor, size: tuple[int, int]) -> None:
        self.space, self.memory, self.size = space, memory, size
        self.statistics: dict[str, MapStatistics] = {}
        self.standardiser: Standardiser | None = None

    @torch.inference_mode()
    def calibrate(self, train: Tensor, held_out: Tensor) -> None:
        """Measure the scales of maps and embedding on standardised features `[N, C, h, w]` of
        training and of held-out normals."""
        raw = self._raw(held_out, list(self.space.slices))
        self.statistics = levels.statistics_of(raw)
        parts = [self._blocks(part) for part in train.split(_BATCH)]
        self.standardiser = Standardiser.measured(
            *(torch.cat(part) for part in zip(*parts, strict=True))
        )

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """`[B, C + 2]`: mean features, and the mean and the largest distances. Raises RuntimeError
        before `calibrate`."""
        if self.standardiser is None:
            raise RuntimeError("the embedding has no scale yet; call calibrate first")
        scaled = self.standardiser
        return torch.cat([scaled(*self._blocks(z)) for z in self._features(images)])

    @torch.inference_mode()
    def maps(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B, H, W]`, enlarged from the grid: distances from the nearest of the memory."""
        plan = self._plan(scoring)
        return torch.cat([self._judged(z, plan)[1] for z in self._features(images)])

    def scores(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B]`."""
        return self.grid_scores(images, [scoring])[0]

    @torch.inference_mode()
    def grid_scores(self, images: Tensor, grid: Sequence[Scoring]) -> Tensor:
        """`[S, B]` from one search for nearest neighbours a level."""
        plans = [self._plan(scoring) for scoring in grid]
        names = sorted({plan.raw for plan in plans})
        parts = [
            tier.grid_scores(self._raw(z, names), plans, self.statistics)
            for z in self._features(images)
        ]
        return torch.cat(parts, 1)

    def one_pass(self, scoring: Scoring) -> OnePass:
        """Scores and maps at once, in float32, the backbone within; see `methods.onepass`."""
        plan, backbone = self._plan(scoring), self.backbone
        return OnePass(
            nn.ModuleList([backbone]),
            lambda images: self.space.standardised(self.space.extractor.seen(images)),
            lambda images, z: self._judged(z, plan),
        )

    def weights(self) -> dict[str, Tensor]:
        """All but the backbone's weights, of which only the digest is kept."""
        found = {
            "memory": on_cpu(self.memory),
            **self.space.weights(),
            **under("statistics", packed(self.statistics)),
            "size": torch.tensor(self.size),
        }
        if self.standardiser is not None:
            found |= under("embedding", self.standardiser.tensors())
        return found

    @classmethod
    def from_weights(
        cls, values: Mapping[str, Any], weights: Mapping[str, Tensor]
    ) -> PatchMemoryDetector:
        """The detector that `weights` came from, on the CPU."""
        space = FeatureSpace.restored(values, weights)
        height, width = (int(n) for n in weights["size"])
        found = cls(space, weights["memory"], (height, width))
        found.statistics = unpacked(below("statistics", weights))
        found.standardiser = Standardiser.from_tensors(below("embedding", weights))
        return found

    def _plan(self, scoring: Scoring) -> tier.MapPlan:
        grid = self.space.extractor.grid(self.size)
        return levels.plan_of(scoring, MAP_SCORING, self.space.slices, grid)

    def _judged(self, z: Tensor, plan: tier.MapPlan) -> tuple[Tensor, Tensor]:
        scores, maps = tier.judged(self._raw(z, [plan.raw])[plan.raw], plan, self.statistics)
        return scores, levels.enlarged(maps, self.size)

    def _features(self, images: Tensor) -> Iterator[Tensor]:
        for part in images.split(_BATCH):
            yield self.space(part)

    def _raw(self, z: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Distances `[B, h, w]` of `[B, C, h, w]` from the memory, by level."""
        return {name: self._distances(z, self.space.slices[name]) for name in names}

    def _distances(self, z: Tensor, channels: slice) -> Tensor:
        rows = z[:, channels].permute(0, 2, 3, 1).flatten(0, 2)
        near = nearest_distance(rows, self.memory[:, channels])
        return near.view(-1, *z.shape[-2:])

    def _blocks(self, z: Tensor) -> tuple[Tensor, Tensor]:
        distances = self._distances(z, self.space.slices["all"]).flatten(1)
        top = max(1, round(_TOP * distances.shape[1]))
        sizes = torch.stack((distances.mean(1), distances.topk(top, 1).values.mean(1)), 1)
        return z.mean((2, 3)), (sizes + _SMALLEST).log()


def nearest_distance(rows: Tensor, memory: Tensor) -> Tensor:
    """Distance `[R]` of each row `[R, C]` from the nearest of `[K, C]`, root mean square over the
    channels."""
    lengths = memory.square().sum(1)
    # A graph that is exported takes any number of rows, and cannot be cut into parts.
    parts = [rows] if torch.compiler.is_exporting() else rows.split(_ROWS)
    with torch.autocast(rows.device.type, enabled=False):
        places = [torch.addmm(lengths, part, memory.T, alpha=-2).argmin(1) for part in parts]
        # Measured anew: beside what is remembered, a difference of squares is all rounding.
        near = zip(parts, places, strict=True)
        return torch.cat([(part - memory[own]).square().mean(1) for part, own in near]).sqrt()
