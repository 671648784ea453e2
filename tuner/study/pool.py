"""The judged trials of a study side by side: what selection, reliability and audit compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.criteria.contract import Criterion
from tuner.study.files import CRITERION_PREFIX, FilesLost, TrialFiles
from tuner.study.judge import finite
from tuner.study.ledger import Entry

Array = NDArray[Any]


@dataclass(frozen=True)
class Pool:
    """T trials that reached a rung and were judged there, in the order of their numbers; controls
    are left out.

    `scores` float64 `[T, M]` are those of the unlabelled batch under the scoring that each trial
    was judged by, a row of NaN where they are not kept or not finite. `criteria` holds float64
    `[T]` by name, NaN where a criterion does not apply, `declared` what each of them is.
    """

    entries: tuple[Entry, ...]
    scores: Array
    criteria: Mapping[str, Array]
    declared: Mapping[str, Criterion]

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def numbers(self) -> list[int]:
        return [entry.number for entry in self.entries]

    @cached_property
    def finished(self) -> Array:
        """bool `[T]`: which trials trained to their last rung."""
        return np.array([entry.state == "finished" for entry in self.entries], dtype=bool)

    @cached_property
    def candidates(self) -> Array:
        """bool `[T]`: the finished trials, or all where none finished; a winner is among them."""
        return self.finished if self.finished.any() else np.ones(len(self), dtype=bool)

    def goodness(self, criterion: str) -> Array:
        """A criterion turned so that more is better: float64 `[T]`."""
        sign = 1.0 if self.declared[criterion].direction == "maximize" else -1.0
        return sign * self.criteria[criterion]

    def only(self, places: Sequence[int] | Array) -> Pool:
        """The same with some of its trials."""
        chosen = np.asarray(places, dtype=int)
        return Pool(
            tuple(self.entries[i] for i in chosen),
            self.scores[chosen],
            {name: values[chosen] for name, values in self.criteria.items()},
            self.declared,
        )

    def place(self, number: int) -> int:
        """Where the trial of that number stands. Raises ValueError where it was not judged."""
        return self.numbers.index(number)

    def of_kind(self, kind: str) -> list[int]:
        """Places of the trials of one kind."""
        return [i for i, entry in enumerate(self.entries) if entry.kind == kind]


def gather(
    entries: Sequence[Entry], folder: Callable[[int], str | Path], criteria: Sequence[Criterion]
) -> Pool:
    """Put the judged trials of a study side by side; scores are read from their folders."""
    judged = sorted(
        (
            e
            for e in entries
            if e.kind != "control" and e.state in ("finished", "stopped_early") and e.records
        ),
        key=lambda entry: entry.number,
    )
    rows = [_own_scores(TrialFiles(Path(folder(entry.number)))) for entry in judged]
    length = max((len(row) for row in rows if row is not None), default=0)
    nothing = np.full(length, np.nan)
    scores = [nothing if row is None or len(row) != length else row for row in rows]
    return Pool(
        tuple(judged),
        np.stack(scores) if scores else np.empty((0, 0)),
        {c.name: np.array([_value(e, c.name) for e in judged]) for c in criteria},
        {c.name: c for c in criteria},
    )


def values_at(files: TrialFiles, setting: int) -> dict[str, float | None]:
    """Every criterion of a trial under one of its scoring settings, by name; none where its scores
    are lost."""
    try:
        kept = files.scores()
    except FilesLost:
        return {}
    return {
        name.removeprefix(CRITERION_PREFIX): finite(float(values[setting]))
        for name, values in kept.items()
        if name.startswith(CRITERION_PREFIX)
    }


def _value(entry: Entry, name: str) -> float:
    value = entry.last.get("criteria", {}).get(name)
    return np.nan if value is None else float(value)


def _own_scores(files: TrialFiles) -> Array | None:
    try:
        own = files.own_scores()
    except FilesLost:
        return None
    return own if np.isfinite(own).all() else None
