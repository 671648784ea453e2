"""From a map to one number per image.

- `sum`: sum over all pixels, as in Bauer et al. (PAE): the whole surface counts. It grows with
  the number of pixels, so scores of two image sizes cannot be compared;
- `max`: the single largest pixel;
- `topk`: mean of the largest 0.5 % of pixels, at least one;
- `topk_relative`: `topk` minus the median of the same map. What lifts an image's whole map (other
  light, other material) cancels, a local defect remains; it may be negative only by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

POOLINGS = ("sum", "max", "topk", "topk_relative")
TOP_SHARE = 0.005
_GROUP = 16


def top_count(pixels: int) -> int:
    """How many pixels `topk` averages."""
    return max(1, math.ceil(TOP_SHARE * pixels))


def largest(values: Tensor, count: int) -> Tensor:
    """The `count` largest of each row of `[R, N]`, in no order: `[R, count]`.

    The largest values can only lie in the `count` groups with the largest maxima, so most of the
    row is never looked at a second time.
    """
    rows, length = values.shape
    groups = length // _GROUP
    if groups * _GROUP != length or groups <= 2 * count:
        return values.topk(count, 1, sorted=False).values
    grouped = values.view(rows, _GROUP, groups)
    best = grouped.amax(1).topk(count, 1, sorted=False).indices
    candidates = grouped.gather(2, best[:, None].expand(rows, _GROUP, count))
    return candidates.reshape(rows, -1).topk(count, 1, sorted=False).values


def median(values: Tensor) -> Tensor:
    """Median of each row of `[R, N]` (the lower one of an even number): `[R]`, exact."""
    rank = (values.shape[1] - 1) // 2
    if values.device.type == "cpu" and not values.requires_grad:
        # numpy's vectorised partition is twice as fast as kthvalue
        return torch.from_numpy(np.partition(values.numpy(), rank, axis=1)[:, rank].copy())
    return values.kthvalue(rank + 1, 1).values


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
    if "topk" in names or "topk_relative" in names:
        top = largest(flat, top_count(flat.shape[1])).mean(1)
        if "topk" in names:
            pooled["topk"] = top
        if "topk_relative" in names:
            pooled["topk_relative"] = top - median(flat)
    return pooled


def pool(maps: Tensor, pooling: str) -> Tensor:
    """One pooling of `[B, H, W]`: `[B]`."""
    return pool_all(maps, (pooling,))[pooling]
