"""A third of an image's blocks taken out, as RIAD inpaints them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.corruption.rows import Rows, constant

_SIDES = (2, 4, 8, 16)
_SETS = 3
_LARGEST = 4  # a block is at most this part of the shorter side


@dataclass(frozen=True)
class BlocksDraw(Rows):
    """`side` `[B]` of a block in pixels and `order` `[B, h, w]`: a random number for each of the
    smallest blocks; a larger block takes that of the same row and column."""

    side: Tensor
    order: Tensor


def draw_blocks(
    batch: int, size: tuple[int, int], generator: torch.Generator, settings: object = None
) -> BlocksDraw:
    """Sides of 2, 4, 8 or 16 pixels, equally often, up to a quarter of the image's shorter side
    (Zavrtanik et al., RIAD)."""
    device = generator.device
    sides = [side for side in _SIDES if side * _LARGEST <= min(size)] or [_SIDES[0]]
    share = torch.rand(batch, generator=generator, device=device)
    chosen = (share * len(sides)).long().clamp(max=len(sides) - 1)
    grid = [-(-n // _SIDES[0]) for n in size]
    order = torch.rand(batch, *grid, generator=generator, device=device)
    return BlocksDraw(constant(sides, device)[chosen], order)


def paint_blocks(images: Tensor, draw: BlocksDraw) -> tuple[Tensor, Tensor]:
    """Images `[B, 3, H, W]` without one of the three sets of blocks, and where it was, 0 or 1.

    The blocks are split into three sets at random, as equal in number as can be; the pixels of the
    first become 0.
    """
    side = draw.side[:, None, None]
    rows, columns = (torch.arange(n, device=draw.side.device) for n in draw.order.shape[1:])
    there = (rows[:, None] * side < images.shape[2]) & (columns * side < images.shape[3])
    order = draw.order.masked_fill(~there, 2.0).flatten(1)
    # the number of blocks that come before each one
    place = order.argsort(dim=1).argsort(dim=1)
    removed = place * _SETS < there.flatten(1).sum(dim=1, keepdim=True)
    y, x = (torch.arange(n, device=draw.side.device) for n in images.shape[2:])
    index = (y[:, None] // side) * draw.order.shape[2] + x // side
    mask = removed.gather(1, index.flatten(1)).view(index.shape)[:, None].to(images.dtype)
    return images * (1 - mask), mask
