"""Noisy stripes: small images to train on."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def waves(count: int, seed: int, size: int = 16) -> Tensor:
    """Noisy stripes of random phase."""
    draws = generator(seed)
    phase = 2 * math.pi * torch.rand(count, 1, 1, 1, generator=draws)
    line = torch.arange(size) * (2 * math.pi / 8)
    images = 0.6 + 0.2 * torch.sin(line + phase).expand(count, 3, size, size)
    noise = 0.05 * torch.randn(count, 3, size, size, generator=draws)
    return (255 * (images + noise).clamp(0, 1)).to(torch.uint8)
