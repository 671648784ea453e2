"""`warp`: the surface bent in one place, no colour added: shifted, swirled or pinched."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.criteria.defects.geometry import (
    Size,
    grid,
    local,
    log_uniform,
    pixel,
    position,
    sample,
    sign,
    uniform,
)


@dataclass(frozen=True)
class WarpDraw:
    """A displacement that fades to nothing at a radius; first axis B.

    `centre` `[B, 2]`, `radius` `[B]`; `shift` `[B, 2]` translation, `swirl` `[B]` radians and
    `pinch` `[B]` logarithm of the magnification, each at the centre.
    """

    centre: Tensor
    radius: Tensor
    shift: Tensor
    swirl: Tensor
    pinch: Tensor


def draw_warp(count: int, size: Size, generator: torch.Generator) -> WarpDraw:
    """Radius 6 to 18 % of the shorter side; one of the three kinds each, faint to strong."""
    radius = log_uniform(generator, (count,), 0.06, 0.18).clamp(min=4 * pixel(size))
    kind = (uniform(generator, (count,), 0, 1) * 3).floor()
    direction = uniform(generator, (count,), 0, 2 * math.pi)
    length = radius * log_uniform(generator, (count,), 0.2, 0.6)
    length = torch.where(kind == 0, length.clamp(min=1.5 * pixel(size)), 0.0)
    way = sign(generator, (count,))
    swirl = log_uniform(generator, (count,), 0.5, 2.5) * way
    pinch = log_uniform(generator, (count,), 0.25, 0.9) * way
    return WarpDraw(
        centre=position(generator, count, size),
        radius=radius,
        shift=torch.stack((length * direction.sin(), length * direction.cos()), 1),
        swirl=torch.where(kind == 1, swirl, 0.0),
        pinch=torch.where(kind == 2, pinch, 0.0),
    )


def apply_warp(images: Tensor, sources: Tensor, draw: WarpDraw) -> Tensor:
    """Bend `[B, 3, H, W]` in [0, 1]; `sources` are not used."""
    v, u = local(images, draw.centre, torch.zeros_like(draw.radius))
    radius = draw.radius[:, None, None]
    window = (1 - (v.square() + u.square()) / radius.square()).clamp(min=0).square()
    turn = draw.swirl[:, None, None] * window
    scale = torch.exp(-draw.pinch[:, None, None] * window)
    cosine, sine = turn.cos() * scale, turn.sin() * scale
    rows = draw.centre[:, 0, None, None] + v * cosine - u * sine
    columns = draw.centre[:, 1, None, None] + v * sine + u * cosine
    rows = rows + draw.shift[:, 0, None, None] * window
    columns = columns + draw.shift[:, 1, None, None] * window
    own_rows, own_columns = grid(images)
    # Exactly the pixel itself outside the window, whatever the rounding of the way there.
    outside = window == 0
    rows = torch.where(outside, own_rows.expand_as(rows), rows)
    columns = torch.where(outside, own_columns.expand_as(columns), columns)
    return sample(images, rows, columns)
