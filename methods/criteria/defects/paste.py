"""`patch` and `scar`: a block of a normal image put where it does not belong.

After Li et al., "CutPaste" (2021): a box, or a thin turned stripe, cut elsewhere and pasted with
some jitter of its colours. Here the box also runs down to faint opacity and to a few pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.criteria.defects.geometry import (
    Size,
    blend,
    edge,
    fitting_tint,
    local,
    log_uniform,
    on_pixels,
    pixel,
    position,
    sample,
    sign,
    uniform,
)


@dataclass(frozen=True)
class PasteDraw:
    """Where a block goes, where it comes from and how its colours change; first axis B.

    `centre`, `origin` `[B, 2]`; `half` `[B, 2]` half sides; `angle`, `origin_angle` `[B]` radians;
    `flip` `[B]` -1 or 1; `gain`, `offset` `[B, 3]`; `opacity`, `softness` `[B]`.
    """

    centre: Tensor
    origin: Tensor
    half: Tensor
    angle: Tensor
    origin_angle: Tensor
    flip: Tensor
    gain: Tensor
    offset: Tensor
    opacity: Tensor
    softness: Tensor


def draw_patch(count: int, size: Size, generator: torch.Generator) -> PasteDraw:
    """Upright boxes of 0.3 to 6 % of the squared shorter side, aspect 0.3 to 3.3."""
    area = log_uniform(generator, (count,), 0.003, 0.06)
    aspect = log_uniform(generator, (count,), 0.3, 3.3)
    half = torch.stack((area * aspect, area / aspect), 1).sqrt() / 2
    upright = torch.zeros(count, device=half.device)
    return _draw(
        count, size, generator, half=half, angle=upright, origin_angle=upright, jitter=0.15
    )


def draw_scar(count: int, size: Size, generator: torch.Generator) -> PasteDraw:
    """Stripes of 0.8 to 5 % width and 6 to 40 % length at any angle."""
    width = log_uniform(generator, (count,), 0.004, 0.025)
    length = log_uniform(generator, (count,), 0.03, 0.2)
    angle = uniform(generator, (count,), 0, math.pi)
    origin_angle = uniform(generator, (count,), 0, math.pi)
    half = torch.stack((width, length), 1)
    return _draw(
        count, size, generator, half=half, angle=angle, origin_angle=origin_angle, jitter=0.3
    )


def _draw(
    count: int,
    size: Size,
    generator: torch.Generator,
    *,
    half: Tensor,
    angle: Tensor,
    origin_angle: Tensor,
    jitter: float,
) -> PasteDraw:
    strength = log_uniform(generator, (count, 1), 0.15, 1.0) * jitter
    tint = 1 + 0.3 * uniform(generator, (count, 3), -1, 1)
    return PasteDraw(
        centre=on_pixels(position(generator, count, size), size),
        origin=on_pixels(position(generator, count, size), size),
        half=half.clamp(min=0.75 * pixel(size)),
        angle=angle,
        origin_angle=origin_angle,
        flip=sign(generator, (count,)),
        gain=1 + strength * uniform(generator, (count, 1), -1, 1) * tint,
        offset=strength * sign(generator, (count, 1)) * tint,
        opacity=uniform(generator, (count,), 0.4, 1.0),
        softness=uniform(generator, (count,), 1.0, 2.0) * pixel(size),
    )


def apply_paste(images: Tensor, sources: Tensor, draw: PasteDraw) -> Tensor:
    """Paste onto `[B, 3, H, W]` in [0, 1] from sources of the same shape."""
    v, u = local(images, draw.centre, draw.angle)
    softness = draw.softness[:, None, None]
    mask = edge(draw.half[:, 0, None, None] - v.abs(), softness)
    mask = mask * edge(draw.half[:, 1, None, None] - u.abs(), softness)
    u = u * draw.flip[:, None, None]
    cosine, sine = draw.origin_angle.cos()[:, None, None], draw.origin_angle.sin()[:, None, None]
    rows = draw.origin[:, 0, None, None] + v * cosine - u * sine
    columns = draw.origin[:, 1, None, None] + v * sine + u * cosine
    block = sample(sources, rows, columns)
    gain, offset = fitting_tint(images, draw.gain), fitting_tint(images, draw.offset)
    block = block * gain[:, :, None, None] + offset[:, :, None, None]
    return blend(images, block.clamp(0, 1), mask * draw.opacity[:, None, None])
