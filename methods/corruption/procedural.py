"""Grey textures from formulas, for use where no foreign image is at hand."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.corruption.rows import between, log_uniform

_OCTAVES = 6


def procedural(count: int, size: int, generator: torch.Generator) -> Tensor:
    """`[count, size, size]` in [0, 1]: Perlin noise, stripes, checkers, white and broad noise.

    A fifth of the textures each (Perlin noise two fifths), with random frequency, direction and
    contrast. Perlin noise has 2^0 to 2^5 cells along a side, as in DRAEM (Zavrtanik et al., 2021).
    """
    device = generator.device
    each = -(-count // 5)
    textures = torch.cat(
        [
            perlin(2 * each, size, generator),
            _stripes(each, size, generator),
            _checkers(each, size, generator),
            _noises(each, size, generator),
        ]
    )
    order = torch.randperm(len(textures), generator=generator, device=device)[:count]
    textures = textures[order]
    # a random steepness takes every pattern from soft to nearly two-valued
    steepness = log_uniform(torch.rand(count, generator=generator, device=device), 1.5, 30.0)
    return torch.sigmoid((textures - 0.5) * 2 * steepness[:, None, None])


def perlin(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Gradient noise `[count, size, size]` in [0, 1] with 1 to 32 cells along a side."""
    device = generator.device
    parts = []
    for octave in range(_OCTAVES):
        number = count // _OCTAVES + (octave < count % _OCTAVES)
        cells = min(2**octave, size // 2)
        angles = (
            2
            * math.pi
            * torch.rand(number, cells + 1, cells + 1, generator=generator, device=device)
        )
        place = (torch.arange(size, device=device) + 0.5) * (cells / size)
        cell = place.long().clamp(max=cells - 1)
        inside = place - cell
        fade = inside**3 * (inside * (6 * inside - 15) + 10)
        corners = []
        for down in (0, 1):
            for right in (0, 1):
                angle = angles[:, cell + down][:, :, cell + right]
                corners.append(
                    angle.cos() * (inside - right) + angle.sin() * (inside - down)[:, None]
                )
        top = torch.lerp(corners[0], corners[1], fade)
        bottom = torch.lerp(corners[2], corners[3], fade)
        parts.append(torch.lerp(top, bottom, fade[:, None]))
    noise = torch.cat(parts) * math.sqrt(2)
    return (0.5 + 0.5 * noise).clamp_(0, 1)


def _waves(count: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two sine waves `[count, size, size]` in [-1, 1] at right angles, of random direction."""
    share = torch.rand(5, count, 1, 1, generator=generator, device=generator.device)
    line = (torch.arange(size, device=generator.device) + 0.5) / size - 0.5
    turn = math.pi * share[0]
    along = line * turn.cos() + line[:, None] * turn.sin()
    across = line[:, None] * turn.cos() - line * turn.sin()
    phase = 2 * math.pi * log_uniform(share[1], 2.0, size / 4)
    other = 2 * math.pi * log_uniform(share[2], 2.0, size / 4)
    return (
        torch.sin(along * phase + 2 * math.pi * share[3]),
        torch.sin(across * other + 2 * math.pi * share[4]),
    )


def _stripes(count: int, size: int, generator: torch.Generator) -> Tensor:
    wave, _ = _waves(count, size, generator)
    duty = torch.rand(count, 1, 1, generator=generator, device=generator.device)
    return 0.5 + 0.5 * (wave + between(duty, -0.7, 0.7)).clamp(-1, 1)


def _checkers(count: int, size: int, generator: torch.Generator) -> Tensor:
    one, two = _waves(count, size, generator)
    return 0.5 + 0.5 * one * two


def _noises(count: int, size: int, generator: torch.Generator) -> Tensor:
    """White noise, or noise with the larger part of its power at low frequencies."""
    device = generator.device
    noise = torch.randn(count, 1, size, size, generator=generator, device=device)
    share = torch.rand(count, 1, 1, 1, generator=generator, device=device)
    total, scale = torch.zeros_like(noise), 1
    while size // scale >= 4:
        part = F.avg_pool2d(noise, scale) * scale
        part = F.interpolate(part, size=(size, size), mode="bilinear", align_corners=False)
        total += part * scale ** (share - 0.3)
        scale *= 2
    deviation = total.std(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    return (0.5 + 0.2 * total / deviation)[:, 0].clamp(0, 1)
