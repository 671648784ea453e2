"""Coordinates, random draws and sampling that the defect families share.

Lengths are in units of the image's shorter side, so that a defect looks alike at any resolution.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]


def uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    """Uniform numbers in [low, high) on the generator's device."""
    drawn = torch.rand(shape, generator=generator, device=generator.device)
    return drawn * (high - low) + low


def log_uniform(
    generator: torch.Generator, shape: tuple[int, ...], low: float, high: float
) -> Tensor:
    """Numbers in [low, high) whose logarithm is uniform."""
    return uniform(generator, shape, math.log(low), math.log(high)).exp()


def sign(generator: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """-1 or 1 with equal chance."""
    return (uniform(generator, shape, 0, 1) < 0.5).float() * 2 - 1


def position(generator: torch.Generator, count: int, size: Size) -> Tensor:
    """`[count, 2]`: a row and a column anywhere in the image but the outer 5 %."""
    drawn = uniform(generator, (count, 2), 0.05, 0.95)
    return drawn * drawn.new_tensor(size) / min(size)


def on_pixels(places: Tensor, size: Size) -> Tensor:
    """The nearest pixel centres: what is copied between two of them is not resampled."""
    step = pixel(size)
    return (places / step).floor() * step + step / 2


def pixel(size: Size) -> float:
    """Side of one pixel."""
    return 1 / min(size)


def grid(like: Tensor) -> tuple[Tensor, Tensor]:
    """Rows `[1, H, 1]` and columns `[1, 1, W]` of the pixel centres of `[..., H, W]`."""
    height, width = like.shape[-2:]
    step = pixel((height, width))
    rows = (torch.arange(height, device=like.device, dtype=torch.float32) + 0.5) * step
    columns = (torch.arange(width, device=like.device, dtype=torch.float32) + 0.5) * step
    return rows[None, :, None], columns[None, None, :]


def local(like: Tensor, centre: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates `[B, H, W]` of the pixels around `centre` `[B, 2]`, turned by `angle` `[B]`."""
    rows, columns = grid(like)
    dy, dx = rows - centre[:, 0, None, None], columns - centre[:, 1, None, None]
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return dy * cosine + dx * sine, -dy * sine + dx * cosine


def sample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`[B, 3, H, W]` read at coordinates `[B, H, W]`: bicubic, mirrored beyond the border.

    Bilinear reading would blur the grain of a surface, and a blurred place often scores lower than
    a sound one: the defect would be judged by the blur, not by what it shows.
    """
    height, width = images.shape[-2:]
    shorter = min(height, width)
    where = torch.stack((columns * (2 * shorter / width) - 1, rows * (2 * shorter / height) - 1), 3)
    read = F.grid_sample(
        images, where, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return read.clamp(0, 1)


def blend(images: Tensor, filling: Tensor, mask: Tensor) -> Tensor:
    """`filling` where the mask `[B, H, W]` is 1, the image where it is 0; clipped to [0, 1]."""
    return torch.lerp(images, filling, mask[:, None]).clamp(0, 1)


def edge(distance: Tensor, softness: Tensor | float) -> Tensor:
    """1 well inside (`distance` > 0), 0 outside, a ramp of width `softness` between."""
    return (0.5 + distance / softness).clamp(0, 1)


def fitting_tint(images: Tensor, change: Tensor) -> Tensor:
    """`change` `[B, 3]` of the channels, the same for all three where an image is grey.

    A grey surface never takes on a colour, so that a tint would give any defect away.
    """
    saturation = (images.amax(1) - images.amin(1)).flatten(1).amax(1)
    return torch.where(saturation[:, None] > 2 / 255, change, change.mean(1, keepdim=True))


def visible_shift(images: Tensor, mask: Tensor, shift: Tensor) -> Tensor:
    """`shift` `[B, 3]`, its sign turned where it would only clip: brightening white, say."""
    weight = mask.sum((1, 2)).clamp(min=1e-6)
    level = (images * mask[:, None]).sum((2, 3)) / weight[:, None]
    target = (level + shift).mean(1, keepdim=True)
    return torch.where((target < 0) | (target > 1), -shift, shift)
