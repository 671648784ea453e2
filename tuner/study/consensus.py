"""Do the trials of a study agree on which images are suspicious?

A trial that ranks the unlabelled images against all others is inverted, or looks at something of
its own, or is right where most are wrong; its criteria cannot tell (ST-SSAD's score variance is the
same with all signs turned). So this warns and never chooses. Only kept scores of the unlabelled
batch are compared; no label is involved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from methods.criteria.consensus import FEWEST as FEWEST_TRIALS
from methods.criteria.consensus import rank_agreement
from tuner.study.files import TrialFiles

# In standard deviations of the rank correlation of rankings that have nothing in common.
_SURPRISE = 2.0


class Consensus:
    """The kept scores of trials, each under the scoring that its trial was judged by."""

    def __init__(self, folder: Callable[[int], str | Path]) -> None:
        self._folder = folder
        self._scores: dict[int, np.ndarray | None] = {}

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

    def _kept(self, number: int) -> np.ndarray | None:
        if number not in self._scores:
            self._scores[number] = _usable(TrialFiles(Path(self._folder(number))))
        return self._scores[number]


def _usable(files: TrialFiles) -> np.ndarray | None:
    try:
        own = files.own_scores()
    except FileNotFoundError:
        return None
    return own if np.isfinite(own).all() and np.ptp(own) > 0 else None
