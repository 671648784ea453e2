"""Draws: everything random about a batch, one row a sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """A dataclass of tensors (or of further Rows) that share their leading dimension.

    Indexing takes the same samples out of every field, so that one draw for a whole batch can be
    cut into the parts of several workers.
    """

    def __getitem__(self, rows: slice | Tensor) -> Self:
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def to(self, device: torch.device) -> Self:
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))


def log_uniform(share: Tensor, low: float, high: float) -> Tensor:
    """U(0, 1) to a number from low to high, uniform in its logarithm."""
    return low * torch.exp(share * math.log(high / low))


def between(share: Tensor, low: float, high: float) -> Tensor:
    """U(0, 1) to U(low, high)."""
    return low + (high - low) * share


def choose(share: Tensor, weights: Sequence[float]) -> Tensor:
    """U(0, 1) to the number of a choice, with probabilities proportional to `weights`.

    Raises ValueError where no weight is above zero.
    """
    total = sum(weights)
    if total <= 0 or min(weights) < 0:
        raise ValueError(
            f"the shares are {list(weights)}, but none may be negative and one must be above 0"
        )
    last = max(i for i, weight in enumerate(weights) if weight > 0)
    choice = torch.zeros_like(share, dtype=torch.long)
    below = 0.0
    for weight in weights[:last]:
        below += weight / total
        choice += share >= below
    return choice
