"""From a map to one number per image.

- `sum`: sum over all pixels, as in Bauer et al. (PAE): the whole surface counts. It grows with
  the number of pixels, so scores of two image sizes cannot be compared;
- `max`: the single largest pixel;
- `topk`: mean of the largest 0.5 % of pixels, at least one;
- `top5`: mean of the largest 5 % of pixels, for coarse maps and large defects;
- `topk_relative`: `topk` minus the median of the same map. What lifts an image's whole map (other
  light, other material) cancels, a local defect remains;
- `topk_ratio`: `topk` over the median of the same map, which cancels what stretches it (contrast,
  grain). A median under a millionth counts as that: the square of a quarter of a grey level.

The median is that of all pixels in a map of up to 1024, and of 512 fixed pixels, evenly scattered,
in a larger one: neighbouring pixels of a discrepancy map say nearly the same, and the median of
every pixel would cost as much as all the rest of a scoring grid. For independent pixels its error
is 6 % of the map's standard deviation, for a smoothed map much less.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection

import torch
from torch import Tensor

from methods.scoring.selection import largest, order_statistic

POOLINGS = ("sum", "max", "topk", "top5", "topk_relative", "topk_ratio")
TOP_SHARE = 0.005
_TOP5_SHARE = 0.05
ALL_PIXELS = 1024
SCATTERED_PIXELS = 512
_LEAST_BACKGROUND = 1e-6
_CPU = torch.device("cpu")


def top_count(pixels: int, share: float = TOP_SHARE) -> int:
    """How many pixels the mean of the largest `share` averages."""
    return max(1, math.ceil(share * pixels))


@functools.lru_cache(maxsize=64)
# What is kept may be needed for gradients later.
@torch.inference_mode(False)
def scattered(height: int, width: int, device: torch.device = _CPU) -> Tensor:
    """Flat indices of `SCATTERED_PIXELS` pixels, even but without rows and columns: `[P]`.

    Roberts's additive sequence of the plastic number; a regular lattice could fall into step with
    a patterned surface.
    """
    steps = torch.arange(SCATTERED_PIXELS, dtype=torch.float64)
    plastic = 1.32471795724474602596
    rows = (0.5 + steps / plastic) % 1 * height
    columns = (0.5 + steps / plastic**2) % 1 * width
    return (rows.long() * width + columns.long()).to(device)


def background(maps: Tensor) -> Tensor:
    """The level of most of each map `[R, H, W]`: `[R]`, see the module's note on the median.

    The lower one of the two middle values of an even number of pixels.
    """
    values = maps.flatten(1)
    if values.shape[1] > ALL_PIXELS:
        chosen = scattered(int(maps.shape[1]), int(maps.shape[2]), values.device)
        values = values.index_select(1, chosen)
    rank = (values.shape[1] - 1) // 2
    return order_statistic(values, rank)


def pool_all(maps: Tensor, names: Collection[str]) -> dict[str, Tensor]:
    """Several poolings of `[R, H, W]` at once, each `[R]`; what they share is computed once.

    Raises ValueError for an unknown name.
    """
    unknown = sorted(set(names) - set(POOLINGS))
    if unknown:
        raise ValueError(
            f"pooling is {', '.join(unknown)}, but must be one of: {', '.join(POOLINGS)}"
        )
    flat = maps.reshape(maps.shape[0], -1)
    pooled: dict[str, Tensor] = {}
    if "sum" in names:
        pooled["sum"] = flat.sum(1)
    if "max" in names:
        pooled["max"] = flat.amax(1)
    if "top5" in names:
        count = top_count(flat.shape[1], _TOP5_SHARE)
        pooled["top5"] = largest(flat, count).mean(1)
    relative = {"topk_relative", "topk_ratio"} & set(names)
    if "topk" in names or relative:
        top = largest(flat, top_count(flat.shape[1])).mean(1)
        if "topk" in names:
            pooled["topk"] = top
        if relative:
            level = background(maps)
            both = {
                "topk_relative": top - level,
                "topk_ratio": top / level.clamp(min=_LEAST_BACKGROUND),
            }
            pooled |= {name: both[name] for name in relative}
    return pooled


def pool(maps: Tensor, pooling: str) -> Tensor:
    """One pooling of `[B, H, W]`: `[B]`."""
    return pool_all(maps, (pooling,))[pooling]
