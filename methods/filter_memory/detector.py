"""Scores pixels by their distance from what normal pixels look like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.contract import Scoring
from methods.criteria.appearance import Appearance, descriptions, lattice, nearest
from methods.filter_memory.settings import setting_of
from methods.onepass import OnePass
from methods.scoring.pooling import pool, pool_all
from methods.scoring.smoothing import smooth
from methods.state import on_cpu

_BATCH = 32


class FilterMemoryDetector:
    """`appearance` holds the memory; `size` is (height, width) of the training images."""

    def __init__(self, appearance: Appearance, size: tuple[int, int]) -> None:
        self.appearance, self.size = appearance, size

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """`[B, 19]`: how the most unusual pixels differ; see `Appearance`."""
        memory = self.appearance.memory
        with torch.autocast(memory.device.type, enabled=False):
            return self.appearance.embed(images.to(memory.device, torch.float32))

    @torch.inference_mode()
    def maps(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B, H, W]`: distance of each pixel's description from the nearest of the memory, in
        standard deviations of normal pixels, enlarged to the image and smoothed."""
        chosen = setting_of(scoring, images.shape[-2:])
        return torch.cat(
            [smooth(part, chosen.passes, chosen.side) for part in self._distances(images)]
        )

    def scores(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B]`."""
        return self.grid_scores(images, [scoring])[0]

    @torch.inference_mode()
    def grid_scores(self, images: Tensor, grid: Sequence[Scoring]) -> Tensor:
        """`[S, B]`; maps are smoothed once for all their poolings."""
        settings = [setting_of(scoring, images.shape[-2:]) for scoring in grid]
        wanted: dict[tuple[int, int], set[str]] = {}
        for each in settings:
            wanted.setdefault((each.passes, each.side), set()).add(each.pooling)
        parts = []
        for distances in self._distances(images):
            pooled = {
                key: pool_all(smooth(distances, *key), names) for key, names in wanted.items()
            }
            rows = [pooled[each.passes, each.side][each.pooling] for each in settings]
            parts.append(torch.stack(rows))
        return torch.cat(parts, dim=1)

    def one_pass(self, scoring: Scoring) -> OnePass:
        """Scores and maps; see `methods.onepass`."""

        def judged(images: Tensor, distances: Tensor) -> tuple[Tensor, Tensor]:
            chosen = setting_of(scoring, images.shape[-2:])
            found = smooth(distances, chosen.passes, chosen.side)
            return pool(found, chosen.pooling), found

        return OnePass(nn.Identity(), self._distance, judged)

    def weights(self) -> dict[str, Tensor]:
        """The memory, what standardises descriptions, and the image size."""
        found = self.appearance
        return {
            "memory": on_cpu(found.memory),
            "centre": on_cpu(found.centre),
            "scale": on_cpu(found.scale),
            "size": torch.tensor(self.size),
        }

    def _distances(self, images: Tensor) -> Iterator[Tensor]:
        for part in images.split(_BATCH):
            yield self._distance(part)

    def _distance(self, images: Tensor) -> Tensor:
        """`[B, H, W]`, before smoothing."""
        found, shape = self.appearance, images.shape[-2:]
        images = images.to(found.memory.device, torch.float32)
        with torch.autocast(images.device.type, enabled=False):
            rows = (descriptions(images) - found.centre) / found.scale
            near, _ = nearest(rows.flatten(0, 1), found.memory)
            small = near.view(-1, 1, *lattice(shape))
            return F.interpolate(small, shape, mode="bilinear", align_corners=False)[:, 0]
