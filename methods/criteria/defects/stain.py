"""`stain`: a soft shift of brightness and colour with an irregular outline."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.criteria.defects.geometry import (
    Size,
    edge,
    fitting_tint,
    local,
    log_uniform,
    pixel,
    position,
    sign,
    uniform,
    visible_shift,
)

_WAVES = (2, 3, 4, 5, 6, 7)


@dataclass(frozen=True)
class StainDraw:
    """An outline in polar form and a colour; first axis B.

    `centre` `[B, 2]`; `radius`, `aspect`, `angle`, `softness` `[B]`; `waves`, `phases` `[B, 6]`
    relative amplitudes of the outline; `shift` `[B, 3]` added inside.
    """

    centre: Tensor
    radius: Tensor
    aspect: Tensor
    angle: Tensor
    softness: Tensor
    waves: Tensor
    phases: Tensor
    shift: Tensor


def draw_stain(count: int, size: Size, generator: torch.Generator) -> StainDraw:
    """Radius 2 to 13 % of the shorter side, contrast 4 to 40 % of full scale, either sign."""
    radius = log_uniform(generator, (count,), 0.02, 0.13).clamp(min=1.5 * pixel(size))
    waves = uniform(generator, (count, len(_WAVES)), 0, 0.35)
    contrast = log_uniform(generator, (count, 1), 0.04, 0.4) * sign(generator, (count, 1))
    softness = radius * log_uniform(generator, (count,), 0.1, 1.0)
    return StainDraw(
        centre=position(generator, count, size),
        radius=radius,
        aspect=log_uniform(generator, (count,), 0.6, 1.7),
        angle=uniform(generator, (count,), 0, math.pi),
        softness=softness.clamp(min=pixel(size)),
        waves=waves / waves.new_tensor(_WAVES).sqrt(),
        phases=uniform(generator, (count, len(_WAVES)), 0, 2 * math.pi),
        shift=contrast * (1 + 0.4 * uniform(generator, (count, 3), -1, 1)),
    )


def apply_stain(images: Tensor, sources: Tensor, draw: StainDraw) -> Tensor:
    """Shift the colours of `[B, 3, H, W]` in [0, 1]; `sources` are not used."""
    v, u = local(images, draw.centre, draw.angle)
    stretch = draw.aspect.sqrt()[:, None, None]
    v, u = v * stretch, u / stretch
    turn = torch.atan2(v, u)
    outline = torch.ones_like(turn)
    for i, wave in enumerate(_WAVES):
        phase = draw.phases[:, i, None, None]
        outline = outline + draw.waves[:, i, None, None] * torch.cos(wave * turn + phase)
    reach = draw.radius[:, None, None] * outline.clamp(min=0.3)
    mask = edge(reach - torch.hypot(v, u), draw.softness[:, None, None])
    shift = visible_shift(images, mask, fitting_tint(images, draw.shift))
    return (images + shift[:, :, None, None] * mask[:, None]).clamp(0, 1)
