"""Do the trials of a study agree on which images are suspicious?

A trial that ranks the unlabelled images against all others is inverted, or looks at something of
its own, or is right where most are wrong; its criteria cannot tell (ST-SSAD's score variance is the
same with all signs turned). So this warns and never chooses. Only kept scores of the unlabelled
batch are compared; no label is involved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from methods.criteria.consensus import FEWEST as FEWEST_TRIALS
from methods.criteria.consensus import agreement_with, descending_ranks, rank_agreement
from tuner.study.files import FilesLost, TrialFiles

# In standard deviations of the rank correlation of rankings that have nothing in common.
_SURPRISE = 2.0


class Consensus:
    """The kept scores of trials, each under the scoring that its trial was judged by."""

    def __init__(self, folder: Callable[[int], str | Path]) -> None:
        self._folder = folder
        self._scores: dict[int, np.ndarray | None] = {}
        self._counted: dict[int, bool] = {}
        self._sum: Tensor | None = None

    def of(self, numbers: Sequence[int]) -> dict[int, float]:
        """Rank correlation of each trial with the mean rank of the others, in [-1, 1].

        Trials without kept, finite, unequal scores take no part; empty for fewer than 3 that do.
        """
        found = {n: s for n in numbers for s in (self._kept(n),) if s is not None}
        if len(found) < FEWEST_TRIALS:
            return {}
        values = rank_agreement(torch.from_numpy(np.stack(list(found.values()))))
        pairs = zip(found, values.tolist(), strict=True)
        return {number: value for number, value in pairs if math.isfinite(value)}

    def of_next(self, number: int, ended: Iterable[int]) -> float | None:
        """The same of one trial with those that ended before it, None where there is none.

        Costs as much with a thousand of them as with ten: their ranks are summed up once.
        """
        for other in ended:
            if other not in self._counted:
                ranks = self._ranks(other)
                self._counted[other] = ranks is not None
                self._scores.pop(other, None)
                if ranks is not None:
                    self._sum = ranks if self._sum is None else self._sum + ranks
        own = self._ranks(number)
        if own is None or self._sum is None or sum(self._counted.values()) < FEWEST_TRIALS - 1:
            return None
        value = float(agreement_with(own, self._sum))
        return value if math.isfinite(value) else None

    def warning(self, value: float, number: int) -> str | None:
        """A sentence where a correlation is lower than chance explains, else None."""
        scores = self._kept(number)
        images = 0 if scores is None else len(scores)
        if images < 3 or value >= -_SURPRISE / math.sqrt(images - 1):
            return None
        return (
            f"it ranks the unlabelled images against the other trials (rank correlation {value:.2f}"
            " with their mean rank): its scores may be inverted, or theirs"
        )

    def _ranks(self, number: int) -> Tensor | None:
        scores = self._kept(number)
        return None if scores is None else descending_ranks(torch.from_numpy(scores[None]))[0]

    def _kept(self, number: int) -> np.ndarray | None:
        if number not in self._scores:
            self._scores[number] = _usable(TrialFiles(Path(self._folder(number))))
        return self._scores[number]


def _usable(files: TrialFiles) -> np.ndarray | None:
    try:
        own = files.own_scores()
    except FilesLost:
        return None
    return own if np.isfinite(own).all() and np.ptp(own) > 0 else None
