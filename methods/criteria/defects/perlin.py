"""`perlin`: torn regions of Perlin noise, filled with misplaced and tinted texture.

The mask follows Zavrtanik et al., "DRAEM" (2021), but keeps to one neighbourhood and to a drawn
area; the filling comes from normal images of the same kind, not from foreign textures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.criteria.defects.geometry import (
    Size,
    blend,
    fitting_tint,
    grid,
    local,
    log_uniform,
    pixel,
    position,
    sample,
    sign,
    uniform,
    visible_shift,
)
from methods.gradient_noise import gradient_noise

_LATTICE = 32


@dataclass(frozen=True)
class PerlinDraw:
    """A noise field, its neighbourhood and its filling; first axis B.

    `lattice` `[B, 32, 32]` gradient angles, repeated periodically; `frequency` `[B]` cells a
    shorter side; `centre` `[B, 2]`, `radius` `[B]` of the neighbourhood; `area` `[B]` in squared
    shorter sides; `origin` `[B, 2]`, `turn`, `zoom` `[B]` of the filling; `shift` `[B, 3]` its
    tint; `opacity` `[B]`.
    """

    lattice: Tensor
    frequency: Tensor
    centre: Tensor
    radius: Tensor
    area: Tensor
    origin: Tensor
    turn: Tensor
    zoom: Tensor
    shift: Tensor
    opacity: Tensor


def draw_perlin(count: int, size: Size, generator: torch.Generator) -> PerlinDraw:
    """0.3 to 6 % of the squared shorter side, 3 to 16 cells across, tint 3 to 35 %."""
    tint = log_uniform(generator, (count, 1), 0.03, 0.35) * sign(generator, (count, 1))
    return PerlinDraw(
        lattice=uniform(generator, (count, _LATTICE, _LATTICE), 0, 2 * math.pi),
        frequency=log_uniform(generator, (count,), 3, 16),
        centre=position(generator, count, size),
        radius=log_uniform(generator, (count,), 0.06, 0.2),
        area=log_uniform(generator, (count,), 0.003, 0.06).clamp(min=4 * pixel(size) ** 2),
        origin=position(generator, count, size),
        turn=uniform(generator, (count,), 0, 2 * math.pi),
        zoom=log_uniform(generator, (count,), 0.7, 1.4),
        shift=tint * (1 + 0.4 * uniform(generator, (count, 3), -1, 1)),
        opacity=uniform(generator, (count,), 0.4, 1.0),
    )


def noise(like: Tensor, lattice: Tensor, frequency: Tensor) -> Tensor:
    """Perlin noise `[B, H, W]`, about -1 to 1, with its own cell size for each row of the batch."""
    rows, columns = grid(like)
    y = (rows * frequency[:, None, None]).expand(-1, -1, like.shape[-1])
    x = (columns * frequency[:, None, None]).expand(-1, like.shape[-2], -1)
    return gradient_noise(lattice, y, x)


def region(like: Tensor, draw: PerlinDraw) -> Tensor:
    """The mask `[B, H, W]` in [0, 1]: the highest noise near the centre, of the drawn area."""
    height, width = like.shape[-2:]
    v, u = local(like, draw.centre, torch.zeros_like(draw.turn))
    near = torch.exp(-(v.square() + u.square()) / (2 * draw.radius[:, None, None].square()))
    field = noise(like, draw.lattice, draw.frequency) + 2.5 * near
    pixels = (draw.area * min(height, width) ** 2).round().long().clamp(1, height * width)
    ordered = field.flatten(1).sort(1, descending=True).values
    threshold = ordered.gather(1, (pixels - 1)[:, None])[:, :, None]
    hard = (field >= threshold).float()
    return F.avg_pool2d(hard[:, None], 3, 1, 1, count_include_pad=False)[:, 0]


def apply_perlin(images: Tensor, sources: Tensor, draw: PerlinDraw) -> Tensor:
    """Fill noise regions of `[B, 3, H, W]` in [0, 1] from sources of the same shape."""
    mask = region(images, draw)
    v, u = local(images, draw.centre, draw.turn)
    zoom = draw.zoom[:, None, None]
    rows = draw.origin[:, 0, None, None] + v * zoom
    columns = draw.origin[:, 1, None, None] + u * zoom
    filling = sample(sources, rows, columns)
    shift = visible_shift(filling, mask, fitting_tint(images, draw.shift))
    filling = (filling + shift[:, :, None, None]).clamp(0, 1)
    return blend(images, filling, mask * draw.opacity[:, None, None])
