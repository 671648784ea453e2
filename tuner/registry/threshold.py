"""A threshold from normal images alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Threshold:
    """Images with a score above `value` are called anomalous.

    `false_positive_rate` is what was asked for and `achievable_rate` what the `count` held-out
    normals can promise: at most the former, unless they are too few to support it.
    """

    value: float
    false_positive_rate: float
    achievable_rate: float
    count: int

    @property
    def supported(self) -> bool:
        return self.achievable_rate <= self.false_positive_rate

    def caution(self) -> str:
        """What to tell a person where the rate cannot be promised; empty where it can."""
        if self.supported:
            return ""
        return (
            f"{self.count} held-out normal images cannot support a false-positive rate of "
            f"{self.false_positive_rate:.3g}: {self.achievable_rate:.3g} is the lowest they can "
            f"promise; at least {needed(self.false_positive_rate)} are needed"
        )


def quantile_threshold(held_out_scores: ArrayLike, false_positive_rate: float) -> Threshold:
    """The lowest held-out score that keeps the false-positive rate of a new normal image.

    With n held-out normals that are exchangeable with new ones, a new score is above the k-th
    smallest of them with a probability of at most (n + 1 - k) / (n + 1), whatever the
    distribution (the bound on which conformal prediction rests; Vovk, Gammerman and Shafer,
    "Algorithmic Learning in a Random World"). Where even k = n does not keep the rate, the
    highest score is taken.

    Raises ValueError for a rate outside (0, 1), no scores, or scores that are not finite.
    """
    scores = np.sort(np.asarray(held_out_scores, dtype=np.float64).ravel())
    if not 0.0 < false_positive_rate < 1.0:
        raise ValueError(
            f"false_positive_rate is {false_positive_rate}, but must be above 0 and below 1"
        )
    if len(scores) == 0:
        raise ValueError("there is no held-out score; keep at least one normal image from training")
    if not np.isfinite(scores).all():
        broken = int((~np.isfinite(scores)).sum())
        raise ValueError(f"{broken} of {len(scores)} held-out scores are not finite numbers")
    n = len(scores)
    above = min(math.floor((n + 1) * false_positive_rate * (1 + 1e-12)), n)
    k = n if above == 0 else n + 1 - above
    return Threshold(float(scores[k - 1]), false_positive_rate, (n + 1 - k) / (n + 1), n)


def needed(false_positive_rate: float) -> int:
    """Fewest held-out normals that can support a rate."""
    return max(1, math.ceil(1.0 / false_positive_rate * (1 - 1e-12)) - 1)
