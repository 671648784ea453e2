"""The augmentation's own step: Adam within the augmentation's bounds."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from methods.augmentation import Augmentation
from methods.augmentation.contract import Size

_FIRST, _SECOND, _EPSILON = 0.9, 0.99, 1e-8


class TunedVector:
    """The learned parameters `[k]`, float64 and on the CPU, and the moments of their gradient.

    ST-SSAD, Algorithm 1, line 8, with a form of Adam (Kingma and Ba, 2015) in place of a plain
    step: the paper's step size is not published, and Adam's moves a size by a known share whatever
    the scale of the loss. The second moment is that of the whole gradient, one number: with one a
    parameter, a ratio that the loss hardly knows would move as fast as the size that it knows well.
    Every step ends within the declared bounds and what the images can show. `place` `[k]` says how
    far each parameter has gone since the start, in steps of full length.
    """

    def __init__(self, augmentation: Augmentation, start: Tensor, size: Size, rate: float) -> None:
        self.augmentation, self.size, self.rate = augmentation, size, rate
        self.vector = start
        self.lengths = step_lengths(augmentation).to(start.device)
        periodic = [augmentation.periods.get(name) is not None for name in augmentation.names]
        self.periodic = torch.tensor(periodic, device=start.device)
        self.first, self.second = torch.zeros_like(start), start.new_zeros(())
        self.place = torch.zeros_like(start)
        self.updates = 0

    def move(self, gradient: Tensor) -> None:
        """One step down the gradient `[k]`."""
        gradient = gradient.to(self.vector) * self.lengths
        self.updates += 1
        self.first = _FIRST * self.first + (1 - _FIRST) * gradient
        self.second = _SECOND * self.second + (1 - _SECOND) * gradient.square().sum()
        first = self.first / (1 - _FIRST**self.updates)
        second = self.second / (1 - _SECOND**self.updates)
        step = -self.rate * self.lengths * first / (second.sqrt() + _EPSILON)
        vector = self.augmentation.project(self.vector + step, self.size)
        # A period that was gone round is no way back; a bound that was met is the end of the way.
        gone = torch.where(self.periodic, step, vector - self.vector)
        self.place = self.place + gone / (self.rate * self.lengths)
        self.vector = vector

    def state(self) -> dict[str, Tensor | int]:
        return {
            "vector": self.vector,
            "first": self.first,
            "second": self.second,
            "place": self.place,
            "updates": self.updates,
        }

    def load(self, state: Mapping[str, Tensor | int]) -> None:
        for name in ("vector", "first", "second", "place"):
            setattr(self, name, torch.as_tensor(state[name]).to(self.vector))
        self.updates = int(state["updates"])


def step_lengths(augmentation: Augmentation) -> Tensor:
    """How far one unit of the tuning rate moves each learned parameter: `[k]`, float64.

    1 for logarithms, angles and whatever else ranges over 1 or more; the width of the usual range
    for parameters that live in less, which a step of the same length would throw across it.
    """
    widths = [high - low for low, high in (augmentation.ranges[n] for n in augmentation.names)]
    return torch.tensor(widths, dtype=torch.float64).clamp(max=1.0)
