"""The course of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

CHECKS = 40  # looks at the validation loss in a whole training


def warm_up(step: int, steps: int) -> float:
    """Rises from near 0 to 1 over the first twentieth of a training, 500 steps at most."""
    length = min(500, max(1, steps // 20))
    return min(1.0, (step + 1) / length)


def cosine(step: int, steps: int) -> float:
    """Falls from 1 to 0 along half a cosine."""
    return 0.5 * (1.0 + math.cos(math.pi * step / steps))


@dataclass
class Plateau:
    """Halves the rate where the validation loss has not improved for `patience` looks."""

    patience: int = 3
    best: float = math.inf
    waiting: int = 0
    factor: float = 1.0

    def look(self, loss: float) -> None:
        if loss < self.best:
            self.best, self.waiting = loss, 0
            return
        self.waiting += 1
        if self.waiting > self.patience:
            self.factor, self.waiting = self.factor / 2, 0

    def state(self) -> dict[str, float]:
        return asdict(self)

    @classmethod
    def restore(cls, state: Mapping[str, float]) -> Plateau:
        return cls(int(state["patience"]), state["best"], int(state["waiting"]), state["factor"])
