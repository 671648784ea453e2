"""Rank correlation, where enough is known to speak of one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FEWEST_PAIRS = 3


def spearman(one: Array, other: Array) -> float | None:
    """Spearman's correlation of `[T]` and `[T]` over the pairs where both are finite.

    Equal values share their mean rank. None for fewer than 3 pairs, or where one side is constant.
    """
    from scipy.stats import rankdata

    both = np.isfinite(one) & np.isfinite(other)
    first, second = rankdata(one[both]), rankdata(other[both])
    if len(first) < FEWEST_PAIRS or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])
