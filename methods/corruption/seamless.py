"""Seamless patches: a piece of the image blended in elsewhere by the Poisson equation (NSA)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.corruption.rows import Rows

_SMALLEST, _LARGEST, _SCALE = 0.03, 0.4, 0.05
_RESIZE = (0.7, 1.3)


@dataclass(frozen=True)
class SeamlessDraw(Rows):
    """One box a sample: `half` `[B, 2]` of its height and width as shares of the image's,
    `centre` and `source` `[B, 2]` in [0, 1), `resize` `[B]`, and `mixed` `[B]`, whether the steeper
    of both gradients is kept."""

    half: Tensor
    centre: Tensor
    source: Tensor
    resize: Tensor
    mixed: Tensor


def draw_seamless(
    batch: int, size: tuple[int, int], generator: torch.Generator, settings: object = None
) -> SeamlessDraw:
    """Half-sides 0.03 + Gamma(2, 0.05) up to 0.4, resized by N(1, 0.5) kept in 0.7 to 1.3
    (Schlueter et al., NSA, 2022); half of the patches with mixed gradients."""
    device = generator.device
    share = torch.rand(9, batch, generator=generator, device=device)
    # a Gamma variable of shape 2 is the sum of two exponential ones
    gamma = -_SCALE * (1 - share[:4]).clamp(min=1e-9).log().view(2, 2, batch).sum(dim=0)
    normal = torch.randn(batch, generator=generator, device=device)
    return SeamlessDraw(
        half=(_SMALLEST + gamma.T).clamp(max=_LARGEST),
        centre=share[4:6].T,
        source=share[6:8].T,
        resize=(1 + 0.5 * normal).clamp(*_RESIZE),
        mixed=share[8] < 0.5,
    )


def paint_seamless(images: Tensor, draw: SeamlessDraw) -> tuple[Tensor, Tensor]:
    """Images `[B, 3, H, W]` with the patch blended in, and its box `[B, 1, H, W]`, 0 or 1.

    Inside the box the result has the source's gradients, on the box's border the image's own
    values (Perez et al., 2003, Eq. 3 and, mixed, Eq. 12); what leaves [0, 1] is clipped.
    """
    extent = draw.half.new_tensor(images.shape[2:])
    # the border itself must lie in the image too
    count = (2 * draw.half * extent).round().clamp(min=1).minimum(extent - 2).long()
    first = 1 + (draw.centre * (extent - 1 - count)).long()
    frame = int(count.max()) + 2
    index = first[:, :, None] - 1 + torch.arange(frame, device=images.device)
    rows, columns = (index[:, i].clamp(0, images.shape[2 + i] - 1) for i in range(2))
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    window = images[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    source = _source(images, draw, count, frame)
    change = poisson(_divergence(window, source, draw.mixed), count)

    y, x = (torch.arange(n, device=images.device) for n in images.shape[2:])
    y, x = y - first[:, :1], x - first[:, 1:]
    inside = ((y >= 0) & (y < count[:, :1]))[:, :, None] & ((x >= 0) & (x < count[:, 1:]))[:, None]
    last = frame - 3
    moved = change[batch, :, y.clamp(0, last)[:, :, None], x.clamp(0, last)[:, None]]
    mask = inside[:, None].to(images.dtype)
    return (images + mask * moved.permute(0, 3, 1, 2)).clamp(0.0, 1.0), mask


def poisson(density: Tensor, count: Tensor) -> Tensor:
    """The u `[B, C, n, n]` with -(discrete Laplacian of u) = `density`, and 0 around it.

    Sample b is solved on its first `count[b]` = (h, w) rows and columns; beyond, u is 0. Exact: the
    sine transform diagonalises the five-point Laplacian on a rectangle, and matrices padded with
    zeros let boxes of different sizes share one product.
    """
    waves, values = zip(*(_sines(count[:, i], density.shape[2]) for i in range(2)), strict=True)
    down, across = (wave[:, None] for wave in waves)
    spectrum = down @ density @ across
    spectrum = spectrum / (values[0][:, None, :, None] + values[1][:, None, None, :])
    return down @ spectrum @ across


def _sines(count: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Orthonormal sine waves `[B, n, n]`, symmetric, and the second difference's eigenvalues."""
    number = torch.arange(1, size + 1, device=count.device, dtype=torch.float32)
    count = count[:, None].to(torch.float32)
    angle = math.pi * number / (count + 1)
    there = (number <= count).to(torch.float32)
    waves = torch.sin(angle[:, :, None] * number) * (2 / (count + 1)).sqrt()[:, :, None]
    values = torch.where(there > 0, 2 - 2 * angle.cos(), 1.0)
    return waves * there[:, :, None] * there[:, None], values


def _source(images: Tensor, draw: SeamlessDraw, count: Tensor, frame: int) -> Tensor:
    """What is blended in, `[B, 3, frame, frame]`: another part of the image, resized."""
    extent = draw.half.new_tensor(images.shape[2:])
    step = torch.arange(frame, device=images.device) - 0.5 * (count[:, :, None] + 1)
    place = ((draw.source * extent)[:, :, None] + step / draw.resize[:, None, None]) * (
        2 / extent[:, None]
    ) - 1
    rows, columns = place[:, 0, :, None], place[:, 1, None, :]
    where = torch.stack([columns.expand(-1, frame, -1), rows.expand(-1, -1, frame)], dim=-1)
    return F.grid_sample(images, where, padding_mode="reflection", align_corners=False)


def _divergence(window: Tensor, source: Tensor, mixed: Tensor) -> Tensor:
    """How much more the wished gradients diverge than the window's own, `[B, C, n - 2, n - 2]`."""
    total = torch.zeros_like(window[..., 1:-1, 1:-1])
    height, width = window.shape[2:]
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        there = (..., slice(1 + dy, height - 1 + dy), slice(1 + dx, width - 1 + dx))
        own = window[..., 1:-1, 1:-1] - window[there]
        other = source[..., 1:-1, 1:-1] - source[there]
        keep = mixed[:, None, None, None] & (own.abs() >= other.abs())
        total += torch.where(keep, 0.0, other - own)
    return total
