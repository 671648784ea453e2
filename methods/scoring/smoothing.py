"""Smoothing of a discrepancy map by repeated mean filters (Bauer et al., PAE, inference)."""

from __future__ import annotations

import math

from torch import Tensor

from methods.scoring.windows import reflect_pad, window_sum


def kernel_pixels(fraction: float, height: int, width: int) -> int:
    """The odd number of pixels nearest to `fraction` of the shorter side, at least 1.

    Half-way cases go down: 22 pixels become 21.
    """
    return max(1, 2 * math.ceil(fraction * min(height, width) / 2) - 1)


def mean_filter(maps: Tensor, size: int) -> Tensor:
    """One pass of a `size x size` mean over `[..., H, W]`: stride 1, mirrored border.

    `size` is odd; 1 changes nothing. Raises ValueError for an even or non-positive size.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"the filter size is {size}, but must be an odd number of pixels >= 1")
    if size == 1:
        return maps
    rows = window_sum(reflect_pad(maps, size // 2), size, -2)
    return window_sum(rows, size, -1).mul_(1.0 / (size * size))


def smooth(maps: Tensor, passes: int, size: int) -> Tensor:
    """`passes` repeats of `mean_filter`; 0 leaves the maps as they are.

    The variance of the equivalent Gaussian is `passes * (size**2 - 1) / 12` pixels squared.
    """
    for _ in range(passes):
        maps = mean_filter(maps, size)
    return maps
