"""When tuning ends, and which of its states is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

_DECAY = 0.9
_LEAST_UPDATES = 20


@dataclass
class SmoothedLoss:
    """An exponential moving average whose first values are not pulled towards zero."""

    total: float = 0.0
    weight: float = 0.0

    def add(self, loss: float) -> None:
        self.total = _DECAY * self.total + (1 - _DECAY) * loss
        self.weight = _DECAY * self.weight + (1 - _DECAY)

    @property
    def value(self) -> float:
        """Infinite before the first loss."""
        return self.total / self.weight if self.weight > 0 else math.inf


@dataclass
class StopRule:
    """The sum of training and validation loss decides (ST-SSAD, section 4).

    `look` says whether a sum is the best so far; `over` whether `patience` updates of the
    augmentation have passed since the best, and 20 since the first, without which nothing ends.
    """

    patience: int
    best: float = math.inf
    best_update: int = 0
    update: int = 0

    def look(self, loss: float, update: int) -> bool:
        self.update = update
        if not loss < self.best:
            return False
        self.best, self.best_update = loss, update
        return True

    @property
    def over(self) -> bool:
        waited = self.update - self.best_update
        return self.update >= _LEAST_UPDATES and waited >= self.patience


def state_of(rule: StopRule | SmoothedLoss) -> dict[str, float]:
    return asdict(rule)


def rule_from(state: Mapping[str, float]) -> StopRule:
    whole = ("patience", "best_update", "update")
    return StopRule(best=state["best"], **{name: int(state[name]) for name in whole})
