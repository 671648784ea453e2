"""Separable sliding windows on `[..., H, W]` maps with mirrored borders.

Additions of shifted slices and products with banded matrices: on a processor either is several
times faster than a pooling or convolution call with one channel, and unlike running sums they lose
no digits. kornia's filters, which are convolutions, take 1.04 to 4.1 times as long, no more exact
(`benchmarks/kornia_twins.py`).
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK = 32
_TOO_SHORT = (
    "a window of {} pixels needs a side of at least {} to mirror, got {}; use a smaller window"
)


def reflect_pad(maps: Tensor, radius: int) -> Tensor:
    """Mirror `radius` pixels on all four sides, the border pixel itself not repeated.

    Raises ValueError where a side is too short to mirror that many pixels.
    """
    side = min(maps.shape[-2:])
    if radius >= side:
        raise ValueError(_TOO_SHORT.format(2 * radius + 1, radius + 1, side))
    if radius == 0:
        return maps
    flat = maps.reshape(-1, *maps.shape[-2:])
    padded = F.pad(flat, (radius, radius, radius, radius), mode="reflect")
    return padded.view(*maps.shape[:-2], *padded.shape[-2:])


def weighted_window(maps: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Correlate both axes of `[..., H, W]` with an odd number of weights, borders mirrored.

    Done by products with banded matrices that hold weights and mirror alike, in blocks of rows and
    of columns: many weights cost hardly more than few, and little memory is moved.
    """
    height, width = maps.shape[-2:]
    flat = maps.reshape(-1, height, width)
    kind = (weights, flat.dtype, flat.device)
    rows = [torch.matmul(matrix, flat[:, low:high]) for low, high, matrix in _blocks(height, *kind)]
    flat = rows[0] if len(rows) == 1 else torch.cat(rows, 1)
    flat = flat.reshape(-1, width)
    columns = [torch.mm(flat[:, low:high], matrix.T) for low, high, matrix in _blocks(width, *kind)]
    flat = columns[0] if len(columns) == 1 else torch.cat(columns, 1)
    return flat.view(maps.shape)


@functools.lru_cache(maxsize=64)
# What is kept may be needed for gradients later.
@torch.inference_mode(False)
def _blocks(
    side: int, weights: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> list[tuple[int, int, Tensor]]:
    """For blocks of outputs along a side: first and last input, and the matrix between them.

    Kept where and as they are used: a copy to a GPU at each call would cost more than the product.
    """
    radius = len(weights) // 2
    if radius >= side:
        raise ValueError(_TOO_SHORT.format(len(weights), radius + 1, side))
    whole = torch.zeros(side, side, dtype=torch.float64)
    for output in range(side):
        for offset, weight in enumerate(weights):
            place = abs(output + offset - radius)
            whole[output, min(place, 2 * (side - 1) - place)] += weight
    blocks = []
    for start in range(0, side, _BLOCK):
        stop = min(side, start + _BLOCK)
        low, high = max(0, start - radius), min(side, stop + radius)
        blocks.append((low, high, whole[start:stop, low:high].to(device, dtype, copy=True)))
    return blocks


def window_sum(maps: Tensor, size: int, dim: int) -> Tensor:
    """Sums over `size` neighbours along one axis; shorter by `size - 1`.

    Sums of 1, 2, 4, ... neighbours are built from one another, so that a window costs about
    `2 log2(size)` additions.
    """
    length = maps.shape[dim] - size + 1
    power, span = maps, 1
    total: Tensor | None = None
    taken = 0
    while True:
        if size & span:
            part = power.narrow(dim, taken, length)
            total = part if total is None else total + part
            taken += span
        if 2 * span > size:
            break
        reach = power.shape[dim] - span
        power = power.narrow(dim, 0, reach) + power.narrow(dim, span, reach)
        span *= 2
    assert total is not None
    return total
