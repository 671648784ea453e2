"""A threshold from normal images alone.

The quantile promises its rate whatever the distribution, but no lower one than one in the number
of held-out normals plus one. Below that the tail beyond them has to be supposed: extreme-value
theory says that what exceeds a high score tends to a generalised Pareto law (Pickands, "Statistical
Inference Using Extreme Order Statistics", 1975), which is fitted to the largest held-out scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rule = Literal["quantile", "extreme-value"]

# Share of the held-out scores that make the tail, and fewest of them that a law is fitted to.
TAIL_SHARE = 0.25
FEWEST_IN_TAIL = 8
# A heavier tail than this has no finite variance: the fit is of outliers, not of a law.
HEAVIEST = 0.5
# The shape is drawn towards 0, an exponential tail, as by so many further values. Without, few
# values give short tails by chance, and a rate that is far too high; benchmarks/tail_thresholds.py.
PRIOR_VALUES = 10


@dataclass(frozen=True)
class Threshold:
    """Images with a score above `value` are called anomalous.

    `false_positive_rate` is what was asked for and `achievable_rate` what the `count` held-out
    normals can promise: at most the former, unless they are too few to support it. `rule` says
    how it was found; an extreme-value threshold supposes its tail and promises nothing.
    """

    value: float
    false_positive_rate: float
    achievable_rate: float
    count: int
    rule: Rule = "quantile"

    @property
    def supported(self) -> bool:
        return self.achievable_rate <= self.false_positive_rate

    def caution(self) -> str:
        """What to tell a person where the rate cannot be promised; empty where it can."""
        if self.rule == "extreme-value":
            if self.supported:
                return ""
            return (
                f"a false-positive rate of {self.false_positive_rate:.3g} lies beyond the "
                f"{self.count} held-out normal images (one in {self.count + 1} is the lowest they "
                "can promise): the threshold is extrapolated by a generalised Pareto tail"
            )
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
    scores = _checked(held_out_scores, false_positive_rate)
    n = len(scores)
    above = min(math.floor((n + 1) * false_positive_rate * (1 + 1e-12)), n)
    k = n if above == 0 else n + 1 - above
    return Threshold(float(scores[k - 1]), false_positive_rate, (n + 1 - k) / (n + 1), n)


def extreme_value_threshold(held_out_scores: ArrayLike, false_positive_rate: float) -> Threshold:
    """The score that a generalised Pareto tail of the held-out scores exceeds at the wanted rate.

    The largest quarter of the scores, and at least 8, are taken as the tail; its law is fitted by
    probability-weighted moments (Hosking and Wallis, "Parameter and Quantile Estimation for the
    Generalized Pareto Distribution", 1987), which hold with few values where the likelihood does
    not. Where the rate does not reach into the tail, or there are too few or too equal scores to
    fit one, it is the quantile's threshold, and says so by its `rule`.

    Raises ValueError as `quantile_threshold`.
    """
    scores = _checked(held_out_scores, false_positive_rate)
    n = len(scores)
    tail = max(math.ceil(TAIL_SHARE * n), FEWEST_IN_TAIL)
    plain = quantile_threshold(scores, false_positive_rate)
    if tail >= n or false_positive_rate * (n + 1) >= tail:
        return plain
    start = scores[n - tail - 1]
    fitted = fit_tail(scores[n - tail :] - start)
    if fitted is None:
        return plain
    value = start + _exceeded(false_positive_rate * (n + 1) / tail, *fitted)
    return Threshold(value, false_positive_rate, plain.achievable_rate, n, "extreme-value")


def fit_tail(exceedances: NDArray[np.float64]) -> tuple[float, float] | None:
    """Shape and scale of the generalised Pareto law of ascending exceedances >= 0.

    By probability-weighted moments, the shape drawn towards 0 where there are few values, and at
    most 1/2. None where there is no spread.
    """
    count = len(exceedances)
    weights = 1 - (np.arange(1, count + 1) - 0.35) / count
    mean, weighted = float(exceedances.mean()), float((weights * exceedances).mean())
    if not mean > 0 or not mean - 2 * weighted > 1e-12 * mean:
        return None
    shape = 2 - mean / (mean - 2 * weighted)
    shape = min(shape * count / (count + PRIOR_VALUES), HEAVIEST)
    # With the shape given, the mean exceedance is scale / (1 - shape).
    return shape, mean * (1 - shape)


def _exceeded(rate: float, shape: float, scale: float) -> float:
    """What a generalised Pareto law exceeds with a probability of `rate`."""
    from scipy.stats import genpareto

    return float(genpareto.isf(rate, shape, scale=scale))


def find_threshold(
    held_out_scores: ArrayLike, false_positive_rate: float, rule: Rule = "quantile"
) -> Threshold:
    """A threshold by the named rule. Raises ValueError as the rules do."""
    find = extreme_value_threshold if rule == "extreme-value" else quantile_threshold
    return find(held_out_scores, false_positive_rate)


def _checked(held_out_scores: ArrayLike, false_positive_rate: float) -> NDArray[np.float64]:
    """The scores in ascending order."""
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
    return scores


def needed(false_positive_rate: float) -> int:
    """Fewest held-out normals that can support a rate."""
    return max(1, math.ceil(1.0 / false_positive_rate * (1 - 1e-12)) - 1)
