"""How well each criterion ranked the trials of a study, by labels that it could not see."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from methods.criteria.aggregation import rank_correlations
from tuner.study.judge import finite

Array = NDArray[Any]


def judge_criterion(goodness: Array, aurocs: Array, candidates: Array) -> dict[str, Any]:
    """One criterion against image AUROC over T trials.

    `goodness` `[T]` is the criterion turned so that more is better, NaN where undefined; `aurocs`
    `[T]` what labels say, NaN where undefined; `candidates` bool `[T]` the trials that can be
    picked. The pick is the best candidate, the earliest of equals (`tied` counts them all);
    `regret` is what it lacks to the best candidate and `normalised_rank` the share of the other
    candidates that are better, ties counting half: 0 the best pick, 1 the worst, 1/2 on average
    for a random one. `spearman` is over all trials where both are defined, None for fewer than 3
    or where one side is constant. A criterion that is defined nowhere is `applicable` False with
    None everywhere else.
    """
    known = np.isfinite(goodness)
    found: dict[str, Any] = {
        "applicable": bool(known.any()),
        "trials": int(known.sum()),
        "spearman": spearman(goodness, aurocs),
        "pick": None,
        "tied": 0,
    }
    able = np.flatnonzero(known & candidates)
    if len(able) == 0:
        return found | standing(None, aurocs[candidates])
    best = goodness[able].max()
    tied = able[goodness[able] == best]
    pick = int(tied[0])
    rivals = aurocs[candidates & (np.arange(len(aurocs)) != pick)]
    return found | {"pick": pick, "tied": len(tied)} | standing(float(aurocs[pick]), rivals)


def standing(own: float | None, rivals: Array) -> dict[str, float | None]:
    """AUROC, regret and normalised rank of a pick among its rivals; None where undefined."""
    others = rivals[np.isfinite(rivals)]
    if own is None or not np.isfinite(own):
        return {"image_auroc": None, "regret": None, "normalised_rank": None}
    better = float((others > own).sum() + 0.5 * (others == own).sum())
    return {
        "image_auroc": own,
        "regret": max(float(others.max(initial=own)) - own, 0.0),
        "normalised_rank": better / len(others) if len(others) else 0.0,
    }


def random_pick(
    aurocs: Array, candidates: Array, among: Array | None = None
) -> dict[str, float | None]:
    """What a pick at random among the candidates is worth, on average.

    With `among` bool `[T]` the pick is of these trials instead, and still beside all candidates.
    """
    places = np.flatnonzero((candidates if among is None else among) & np.isfinite(aurocs))
    each = []
    for place in places:
        rivals = candidates & (np.arange(len(aurocs)) != place)
        each.append(standing(float(aurocs[place]), aurocs[rivals]))
    if not each:
        return standing(None, aurocs[places])
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]}


def spearman(one: Array, other: Array) -> float | None:
    """Rank correlation where both are finite; None for fewer than 3 pairs, or a constant side."""
    pair = torch.from_numpy(np.stack((one, other)).astype(np.float64))
    return finite(float(rank_correlations(pair.masked_fill(~pair.isfinite(), torch.nan))[0, 1]))
