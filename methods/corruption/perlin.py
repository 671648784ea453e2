"""Torn regions of Perlin noise, as DRAEM masks them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.corruption.rows import Rows
from methods.gradient_noise import gradient_noise

_NODES = 32
_EXPONENTS = 6  # 2^0 to 2^5 cells along each axis
_THRESHOLD = 0.5


@dataclass(frozen=True)
class PerlinDraw(Rows):
    """A noise field a sample: `lattice` `[B, 32, 32]` angles of the gradients, `cells` `[B, 2]`
    down and across the image, `turn` `[B]` of the whole field."""

    lattice: Tensor
    cells: Tensor
    turn: Tensor


def draw_perlin(
    batch: int, size: tuple[int, int], generator: torch.Generator, settings: object = None
) -> PerlinDraw:
    """Cells 2^i by 2^j, i and j from 0 to 5, turned by up to 90 degrees (Zavrtanik et al., DRAEM).

    The noise repeats every 32 cells, which a turned field of 32 cells shows at its corners.
    """
    device = generator.device
    share = torch.rand(3, batch, generator=generator, device=device)
    nodes = torch.rand(batch, _NODES, _NODES, generator=generator, device=device)
    return PerlinDraw(
        lattice=2 * math.pi * nodes,
        cells=2.0 ** (_EXPONENTS * share[:2].T).floor(),
        turn=math.pi * (share[2] - 0.5),
    )


def perlin_masks(draw: PerlinDraw, size: tuple[int, int]) -> Tensor:
    """`[B, 1, H, W]`, 1 where the noise exceeds 0.5, else 0; it may be 0 everywhere."""
    height, width = size
    y, x = (
        ((torch.arange(n, device=draw.turn.device) + 0.5) / n - 0.5).view(shape)
        for n, shape in ((height, (1, -1, 1)), (width, (1, 1, -1)))
    )
    cosine, sine = draw.turn.cos()[:, None, None], draw.turn.sin()[:, None, None]
    down, across = draw.cells[:, :, None, None].unbind(dim=1)
    field = gradient_noise(
        draw.lattice,
        (cosine * y + sine * x + 0.5) * down,
        (cosine * x - sine * y + 0.5) * across,
    )
    return (field > _THRESHOLD).to(field.dtype)[:, None]
