"""Draws: everything random about a batch, one row a sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """A dataclass of tensors (or of further Rows) that share their leading dimension.

    Indexing takes the same samples out of every field, so that one draw for a whole batch can be
    cut into the parts of several workers. A field may be None: a part that was not drawn.
    """

    def __getitem__(self, rows: slice | Tensor) -> Self:
        return self._mapped(lambda value: value[rows])

    def to(self, device: torch.device) -> Self:
        return self._mapped(lambda value: value.to(device))

    def _mapped(self, change: Callable[[Any], Any]) -> Self:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{n: change(v) for n, v in values.items() if v is not None})

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))


def constant(values: Sequence[float], device: torch.device) -> Tensor:
    """Numbers on a device; `torch.tensor` would wait for all that is queued there."""
    return torch.tensor(values).to(device, non_blocking=True)


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
