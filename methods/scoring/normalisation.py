"""Maps brought to what is usual at each position, and borders that are not scored.

Zero padding makes the border of every convolutional map different from the rest, and a textured
part makes some places louder than others. Held-out normals say how loud each position usually is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
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


_left_out: ContextVar[bool] = ContextVar("left_out", default=False)
_COUNT = "count"


@contextlib.contextmanager
def left_out() -> Iterator[None]:
    """Within it, maps that statistics were measured on are normalised by those of the others.

    A held-out normal that takes part in its own normalisation looks more usual than a new normal
    does, and a threshold that is set by it flags too many. Maps that took no part must not be
    scored in here.
    """
    token = _left_out.set(True)
    try:
        yield
    finally:
        _left_out.reset(token)


@dataclass(frozen=True)
class MapStatistics:
    """What the raw maps of `count` held-out normals are at each position.

    `mean` and `spread` `[H, W]` are smoothed and floored, `plain` `[2, H, W]` mean and variance as
    they were measured; None, and a count of 0, in what earlier versions kept.
    """

    mean: Tensor
    spread: Tensor
    plain: Tensor | None = None
    count: int = 0

    @classmethod
    def measured(cls, maps: Tensor) -> MapStatistics:
        """From raw maps `[V, H, W]` of held-out normals."""
        variance, mean = torch.var_mean(maps.float(), dim=0, correction=0)
        steady, spread = _steadied(mean[None], variance[None])
        return cls(steady[0], spread[0], torch.stack((mean, variance)), len(maps))

    def __call__(self, maps: Tensor, kind: str) -> Tensor:
        """Raw maps `[B, H, W]` under one of `KINDS`."""
        if kind == "none":
            return maps
        mean, spread = self._without(maps) if _left_out.get() else (self.mean, self.spread)
        return maps / mean if kind == "ratio" else (maps - mean) / spread

    def _without(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and spread `[B, H, W]` of the measured maps but each of these `[B, H, W]`."""
        if self.plain is None or self.count < 2:
            return self.mean, self.spread
        mean, variance = self.plain
        off, rest = maps.float() - mean, self.count - 1
        others = (self.count * (variance - off.square() / rest) / rest).clamp(min=0)
        return _steadied(mean - off / rest, others)


def _steadied(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread `[B, H, W]` of raw maps, smoothed and floored."""
    side = max(3, kernel_pixels(_WINDOW, int(mean.shape[1]), int(mean.shape[2])))
    mean, spread = mean_filter(mean, side), mean_filter(variance, side).sqrt()
    loud, wide = (each.mean((1, 2), keepdim=True) for each in (mean, spread))
    return (
        mean.maximum((_FLOOR * loud).clamp(min=_SMALLEST)),
        spread.maximum((_FLOOR * wide).maximum(_STEADIEST * loud).clamp(min=_SMALLEST)),
    )


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
    """Statistics by name as tensors `[4, H, W]`, and the number of maps that they are of."""
    found = {}
    for name, own in statistics.items():
        pair = torch.stack((own.mean, own.spread))
        found[name] = (pair if own.plain is None else torch.cat((pair, own.plain))).cpu()
    counts = {own.count for own in statistics.values()}
    return {**found, **({_COUNT: torch.tensor(counts.pop())} if len(counts) == 1 else {})}


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, MapStatistics]:
    """What `packed` made; earlier versions kept mean and spread alone."""
    count = int(tensors.get(_COUNT, torch.tensor(0)))
    return {
        name: MapStatistics(maps[0], maps[1], maps[2:] if len(maps) > 2 else None, count)
        for name, maps in tensors.items()
        if name != _COUNT
    }
