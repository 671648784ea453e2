"""When tuning ends, and which of its states is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

_DECAY = 0.9
_LEAST_UPDATES = 20
_LOOKS = 2
_STRAIGHT = 0.25


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
    """The sum of training and validation loss decides among states that lie near each other
    (ST-SSAD, section 4).

    Sums of states far apart do not compare: the validation loss is lower, too, where augmented
    embeddings scatter more, which alters on the way. So as long as the augmentation travels, the
    newest state is the best. It travels where in the last two looks' time it has come a quarter of
    the way that it could have come in one direction. At rest, the least sum is the best, and once
    `patience` updates have passed since, and 20 since the first, it is over.
    """

    patience: int
    best: float = math.inf
    best_update: int = 0
    update: int = 0
    places: list[tuple[int, list[float]]] = field(default_factory=list)

    def look(self, loss: float, update: int, place: Sequence[float]) -> bool:
        """Whether this state is the best so far.

        `place` says how far each parameter has gone since the start, in steps of full length.
        """
        then, there = self.places[0] if self.places else (0, [0.0] * len(place))
        self.update = update
        self.places = [*self.places[1 - _LOOKS :], (update, list(place))]
        if math.dist(place, there) > _STRAIGHT * (update - then):
            self.best = math.inf
        elif not loss < self.best:
            return False
        else:
            self.best = loss
        self.best_update = update
        return True

    @property
    def over(self) -> bool:
        waited = self.update - self.best_update
        return self.update >= _LEAST_UPDATES and waited >= self.patience


def state_of(rule: StopRule | SmoothedLoss) -> dict[str, Any]:
    return asdict(rule)


def rule_from(state: Mapping[str, Any]) -> StopRule:
    return StopRule(**{**state, "places": list(state["places"])})
