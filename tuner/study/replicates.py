"""The best trials once more with another seed: how much of a criterion is the luck of a training.

Replicates are trials like any other, inside the budget, marked in the ledger (kind `replicate`,
with the trial that they repeat), never stopped early, and the last ones that a study begins. They
differ in the seed of their training alone: they are judged on the same images with the same draws.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from methods.contract import stream_seed
from methods.criteria.aggregation import seed_stability
from methods.criteria.contract import Criterion
from tuner.study.budget import Budget, Spent
from tuner.study.judge import finite
from tuner.study.ledger import Entry
from tuner.study.pool import Array, Pool
from tuner.study.selection import rank

REPLICATE_STREAM = 0x9E
# Where nobody says how many: a study of so many trials spares two of them.
USUAL = 2
FEWEST_TRIALS = 40
# How many of the best trials take turns to be repeated.
_BEST = 2


def training_seed(seed: int, number: int) -> int:
    """The seed of a replicate's training, from the study's seed and the trial's number."""
    return stream_seed(seed, REPLICATE_STREAM, number) % 2**31


def trained_with(seed: int, entry: Entry) -> int:
    """The seed that a trial of a study with `seed` is trained with."""
    return training_seed(seed, entry.number) if entry.kind == "replicate" else seed


def due(
    budget: Budget, spent: Spent, entries: Sequence[Entry], wanted: int | None, parallel: int
) -> bool:
    """Whether the next trial should be a replicate: what is left of the budget is what the missing
    ones cost, by the mean cost of the trials that finished.

    With `wanted` None, as many as are usual, and none in a study of few trials.
    """
    missing = (USUAL if wanted is None else wanted) - sum(e.kind == "replicate" for e in entries)
    finished = [e for e in entries if e.state == "finished"]
    if missing < 1 or not finished:
        return False
    if wanted is None and spent.trials + missing < FEWEST_TRIALS:
        return False
    cost = float(missing)
    if budget.kind == "seconds":
        seconds = float(np.mean([e.last.get("seconds", 0.0) for e in finished]))
        cost = math.ceil(missing / parallel) * seconds
    elif budget.kind == "device_seconds":
        cost = missing * float(np.mean([e.device_seconds for e in finished]))
    return budget.amount - budget.spent_by(spent) <= cost


def to_repeat(entries: Sequence[Entry], objective: Criterion) -> Entry | None:
    """Of the best finished trials the one that was repeated least; None where none finished."""
    again = Counter(e.origin for e in entries if e.kind == "replicate")
    first = [e for e in entries if e.state == "finished" and e.kind not in ("replicate", "control")]
    best = rank(first, objective)[:_BEST]
    return min(best, key=lambda e: again[e.number], default=None)


def families(pool: Pool) -> list[list[int]]:
    """Places of finished trials that differ in their seed alone, two or more together."""
    found: dict[int, list[int]] = {}
    for place, entry in enumerate(pool.entries):
        if pool.finished[place]:
            number = entry.origin if entry.kind == "replicate" else entry.number
            found.setdefault(entry.number if number is None else number, []).append(place)
    return [places for places in found.values() if len(places) > 1]


def seed_spread(pool: Pool) -> dict[str, float]:
    """Standard deviation of each criterion between seeds, pooled over all repeated trials; a
    criterion that is undefined for one of them is left out."""
    together = families(pool)
    spread: Mapping[str, float | None] = {
        name: finite(_pooled([values[places] for places in together]))
        for name, values in pool.criteria.items()
    }
    return {name: value for name, value in spread.items() if value is not None}


def stability(pool: Pool) -> Array:
    """Mean Kendall's tau-b of a trial's scores between seeds: float64 `[T]`, NaN where a trial was
    not repeated."""
    found = np.full(len(pool), np.nan)
    for places in families(pool):
        found[places] = seed_stability(torch.from_numpy(pool.scores[places]))
    return found


def _pooled(groups: Sequence[Array]) -> float:
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return math.nan
    return math.sqrt(sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / freedom)
