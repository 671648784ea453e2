"""Gaussian noise of training."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

NoiseLaw = Literal["fixed", "uniform"]


def draw_noise(
    shape: tuple[int, ...], sigma: float, law: NoiseLaw, generator: torch.Generator
) -> Tensor:
    """Noise of the given shape `[B, ...]` for images in [0, 1].

    `fixed` draws N(0, sigma^2) everywhere, `uniform` a standard deviation from U(0, sigma) for
    each sample (both from the summary of the FAE paper's noise sweep).
    """
    device = generator.device
    deviation = torch.full((shape[0],), sigma, device=device)
    if law == "uniform":
        deviation = deviation * torch.rand(shape[0], generator=generator, device=device)
    noise = torch.randn(shape, generator=generator, device=device)
    return noise.mul_(deviation.view(-1, *[1] * (len(shape) - 1)))
