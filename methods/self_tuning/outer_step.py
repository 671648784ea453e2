"""The augmentation's own step: Adam within the augmentation's bounds."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from methods.augmentation import Augmentation
from methods.augmentation.contract import Size
from methods.self_tuning.starting_point import step_lengths

_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8


class TunedVector:
    """The learned parameters `[k]`, float64, and the moments of Adam (Kingma and Ba, 2015).

    ST-SSAD, Algorithm 1, line 8, with Adam in place of a plain step: the paper's step size is not
    published, and Adam's moves a size by a known share whatever the scale of the loss. Every step
    ends within the declared bounds and what the images can show.
    """

    def __init__(self, augmentation: Augmentation, start: Tensor, size: Size, rate: float) -> None:
        self.augmentation, self.size, self.rate = augmentation, size, rate
        self.vector = start
        self.lengths = step_lengths(augmentation).to(start.device)
        self.first, self.second = torch.zeros_like(start), torch.zeros_like(start)
        self.updates = 0

    def move(self, gradient: Tensor) -> None:
        """One step down the gradient `[k]`."""
        gradient = gradient.to(self.vector)
        self.updates += 1
        self.first = _FIRST * self.first + (1 - _FIRST) * gradient
        self.second = _SECOND * self.second + (1 - _SECOND) * gradient.square()
        first = self.first / (1 - _FIRST**self.updates)
        second = self.second / (1 - _SECOND**self.updates)
        moved = self.vector - self.rate * self.lengths * first / (second.sqrt() + _EPSILON)
        self.vector = self.augmentation.project(moved, self.size)

    def state(self) -> dict[str, Tensor | int]:
        return {
            "vector": self.vector,
            "first": self.first,
            "second": self.second,
            "updates": self.updates,
        }

    def load(self, state: Mapping[str, Tensor | int]) -> None:
        for name in ("vector", "first", "second"):
            setattr(self, name, torch.as_tensor(state[name]).to(self.vector))
        self.updates = int(state["updates"])
