"""Small random pictures for tests of augmentations."""

from __future__ import annotations

import torch
from torch import Tensor


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=seeded(seed), dtype=torch.float64)
