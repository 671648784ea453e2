"""Maps brought to what is usual at each position, and borders that are not scored.

Zero padding makes the border of every convolutional map different from the rest, and a textured
part makes some places louder than others. Held-out normals say how loud each position usually is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.hyperparameter import Hyperparameter
from methods.scoring.smoothing import kernel_pixels, mean_filter

KINDS = ("none", "ratio", "z")
# Side of the mean filter that steadies the statistics of a few images, of the shorter side.
_WINDOW = 1 / 16
# A position is never taken as quieter than this share of the whole map's mean,
_FLOOR = 0.1
# nor as steadier than this share of that: a single held-out image has no spread at all.
_STEADIEST = 1e-3
# Where all maps vanish, what does not stays finite, and so does its sum.
_SMALLEST = 1e-12
# More normals would hardly move a mean and a spread.
MOST_NORMALS = 128

NORMALISATION: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        "map_normalisation",
        "none",
        "what a map is compared with at each position: nothing, the mean map of held-out normals"
        " (ratio), or their mean and spread (z)",
        choices=KINDS,
        tier="scoring",
    ),
    Hyperparameter(
        "border",
        0.0,
        "share of the side that is left out of the score at each edge",
        low=0.0,
        high=0.25,
        unit="of the side",
        tier="scoring",
    ),
)


@dataclass(frozen=True)
class MapStatistics:
    """Mean and spread `[H, W]` of the raw maps of held-out normals, smoothed and floored."""

    mean: Tensor
    spread: Tensor

    @classmethod
    def measured(cls, maps: Tensor) -> MapStatistics:
        """From raw maps `[V, H, W]` of held-out normals."""
        side = max(3, kernel_pixels(_WINDOW, int(maps.shape[1]), int(maps.shape[2])))
        spread, mean = torch.var_mean(maps.float(), dim=0, correction=0)
        mean, spread = mean_filter(mean[None], side)[0], mean_filter(spread[None], side)[0].sqrt()
        loud, wide = float(mean.mean()), float(spread.mean())
        return cls(
            mean.clamp(min=max(_FLOOR * loud, _SMALLEST)),
            spread.clamp(min=max(_FLOOR * wide, _STEADIEST * loud, _SMALLEST)),
        )

    def __call__(self, maps: Tensor, kind: str) -> Tensor:
        """Raw maps `[B, H, W]` under one of `KINDS`."""
        if kind == "none":
            return maps
        return maps / self.mean if kind == "ratio" else (maps - self.mean) / self.spread


def border_pixels(share: float, height: int, width: int) -> tuple[int, int]:
    """Rows and columns that are left out at each edge; at least one pixel of a map stays."""
    return min(round(share * height), (height - 1) // 2), min(
        round(share * width), (width - 1) // 2
    )


def inner(maps: Tensor, border: tuple[int, int]) -> Tensor:
    """Maps `[..., H, W]` without their border."""
    rows, columns = border
    return maps[..., rows : maps.shape[-2] - rows, columns : maps.shape[-1] - columns]


def with_border(maps: Tensor, border: tuple[int, int]) -> Tensor:
    """Maps `[B, H, W]` whose border, which is not scored, repeats the nearest pixel that is."""
    rows, columns = border
    if border == (0, 0):
        return maps
    within = inner(maps, border)[:, None]
    return F.pad(within, (columns, columns, rows, rows), mode="replicate")[:, 0]


def packed(statistics: Mapping[str, MapStatistics]) -> dict[str, Tensor]:
    """Statistics by name as tensors `[2, H, W]`."""
    return {name: torch.stack((s.mean, s.spread)).cpu() for name, s in statistics.items()}


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, MapStatistics]:
    """What `packed` made."""
    return {name: MapStatistics(*pair.unbind(0)) for name, pair in tensors.items()}
