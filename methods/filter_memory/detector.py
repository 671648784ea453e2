"""Scores pixels by their distance from what normal pixels look like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.contract import Scoring, unit
from methods.criteria.appearance import Appearance, descriptions, lattice, nearest
from methods.hyperparameter import Hyperparameter, Value, complete
from methods.onepass import OnePass
from methods.scoring import pipeline, tier
from methods.scoring.normalisation import MapStatistics, packed, unpacked
from methods.state import below, on_cpu, under

_BATCH = 32
_MAP = "distance"
# PatchCore takes the maximum of the map; a mean of its highest pixels is steadier where there is
# no trained network.
_DEFAULTS: Mapping[str, Value] = {"smoothing_passes": 0, "pooling": "topk"}
SCORING: tuple[Hyperparameter, ...] = tuple(
    replace(p, default=_DEFAULTS.get(p.name, p.default), source="ours")
    for p in pipeline.TIER
    if p.name != "discrepancy"
)


class FilterMemoryDetector:
    """`appearance` holds the memory; `size` is (height, width) of the training images."""

    def __init__(self, appearance: Appearance, size: tuple[int, int]) -> None:
        self.appearance, self.size = appearance, size
        self.statistics: dict[str, MapStatistics] = {}

    @torch.inference_mode()
    def measure(self, normals: Tensor) -> None:
        """Measure the statistics of the maps of held-out normals uint8 `[V, 3, H, W]`."""
        distances = torch.cat(list(self._distances(unit(normals))))
        self.statistics = {_MAP: MapStatistics.measured(distances)}

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """`[B, 19]`: how the most unusual pixels differ; see `Appearance`."""
        memory = self.appearance.memory
        with torch.autocast(memory.device.type, enabled=False):
            return self.appearance.embed(images.to(memory.device, torch.float32))

    @torch.inference_mode()
    def maps(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B, H, W]`: distance of each pixel's description from the nearest of the memory, in
        standard deviations of normal pixels, enlarged to the image, normalised and smoothed."""
        plan = self._plan(scoring)
        return torch.cat(
            [tier.judged(part, plan, self.statistics)[1] for part in self._distances(images)]
        )

    def scores(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B]`."""
        return self.grid_scores(images, [scoring])[0]

    @torch.inference_mode()
    def grid_scores(self, images: Tensor, grid: Sequence[Scoring]) -> Tensor:
        """`[S, B]` from one search for nearest neighbours."""
        plans = [self._plan(scoring) for scoring in grid]
        parts = [
            tier.grid_scores({_MAP: part}, plans, self.statistics)
            for part in self._distances(images)
        ]
        return torch.cat(parts, dim=1)

    def one_pass(self, scoring: Scoring) -> OnePass:
        """Scores and maps; see `methods.onepass`."""
        plan = self._plan(scoring)
        return OnePass(
            nn.Identity(),
            self._distance,
            lambda images, distances: tier.judged(distances, plan, self.statistics),
        )

    def weights(self) -> dict[str, Tensor]:
        """The memory, what standardises descriptions, the maps' statistics and the image size."""
        found = self.appearance
        return {
            "memory": on_cpu(found.memory),
            "centre": on_cpu(found.centre),
            "scale": on_cpu(found.scale),
            **under("statistics", packed(self.statistics)),
            "size": torch.tensor(self.size),
        }

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> FilterMemoryDetector:
        """The detector that `weights` came from, on the CPU."""
        height, width = (int(n) for n in weights["size"])
        memory = Appearance(weights["memory"], weights["centre"], weights["scale"])
        found = cls(memory, (height, width))
        found.statistics = unpacked(below("statistics", weights))
        return found

    def _plan(self, scoring: Scoring) -> tier.MapPlan:
        return tier.plan_of(complete(SCORING, scoring), _MAP, self.size)

    def _distances(self, images: Tensor) -> Iterator[Tensor]:
        for part in images.split(_BATCH):
            yield self._distance(part)

    def _distance(self, images: Tensor) -> Tensor:
        """Raw maps `[B, H, W]`."""
        found, shape = self.appearance, images.shape[-2:]
        images = images.to(found.memory.device, torch.float32)
        with torch.autocast(images.device.type, enabled=False):
            rows = (descriptions(images) - found.centre) / found.scale
            near, _ = nearest(rows.flatten(0, 1), found.memory)
            small = near.view(-1, 1, *lattice(shape))
            return F.interpolate(small, shape, mode="bilinear", align_corners=False)[:, 0]
