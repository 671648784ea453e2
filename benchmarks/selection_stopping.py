"""What early stopping costs and misses, replayed from criteria that were kept at every rung.

`values` is `[T, R]`: a criterion of T trials at R rungs of equal length, higher better, NaN where
it does not apply. Training is counted in rungs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from selection_judge import Array

ORDERS = 8


def expected_best(values: Array) -> Array:
    """Expected highest of n of N values drawn without replacement, n from 1 to N: `[N]`."""
    ordered = np.sort(values)
    count = len(ordered)
    found = np.empty(count)
    for n in range(1, count + 1):
        # The chance that the i-th lowest is the highest of n.
        weights = np.array([math.comb(i, n - 1) for i in range(count)]) / math.comb(count, n)
        found[n - 1] = float((weights * ordered).sum())
    return found


def halving(values: Array, keep: int) -> tuple[int, int]:
    """The best finisher of successive halving, and the rungs that all trials ran for.

    `values` `[T, R]` of a criterion at each rung, higher better; at each but the last the best
    one in `keep` trials go on, at least one. A trial without a value stops.
    """
    alive = np.arange(len(values))
    spent = 0
    for rung in range(values.shape[1]):
        spent += len(alive)
        own = np.nan_to_num(values[alive, rung], nan=-math.inf)
        order = alive[np.argsort(-own, kind="stable")]
        alive = order if rung + 1 == values.shape[1] else order[: max(1, len(order) // keep)]
    return int(alive[0]), spent


def early_stopping(values: Array, keep: int) -> dict[str, float]:
    """Halving against full-length random search, by the criterion `[T, R]` and what it cost.

    `saving` is the training of all trials at full length over that of halving, `shortfall` what
    halving's final criterion lacks to the best of all (in its spread over trials), and
    `equal_cost` the training that random search needs on average for the same criterion over that
    of halving.
    """
    trials, rungs = values.shape
    winner, spent = halving(values, keep)
    final = values[:, -1]
    known = final[np.isfinite(final)]
    reached = float(final[winner])
    needed = int(np.argmax(expected_best(known) >= reached - 1e-12)) + 1
    return {
        "saving": trials * rungs / spent,
        "shortfall": float((known.max() - reached) / max(known.std(), 1e-12)),
        "equal_cost": needed * rungs / spent,
        "found_best": float(reached >= known.max()),
    }


def time_to_reach(
    values: Array, order: Sequence[int], wanted: float, keep: int, stops: Sequence[int]
) -> int:
    """Training that asynchronous successive halving (ASHA) needs until a trial that ran in full has
    a criterion of at least `wanted`.

    One worker takes the trials in `order` and halts each at the rungs `stops`, the last of which is
    the end: at any time the best one in `keep` of those that halted at a rung may go on. Where no
    trial is left and none may go on, the farthest and best ones do nevertheless.
    """
    known = np.nan_to_num(values, nan=-math.inf)
    halted: list[list[int]] = [[] for _ in stops]
    waiting = list(order)
    spent = 0

    def promoted(all_of_them: bool) -> tuple[int, int] | None:
        for level in reversed(range(len(stops) - 1)):
            ranked = sorted(halted[level], key=lambda t: -known[t, stops[level]])
            allowed = ranked if all_of_them else ranked[: len(ranked) // keep]
            found = [t for t in allowed if t not in halted[level + 1]]
            if found:
                return found[0], level + 1
        return None

    while True:
        move = promoted(False)
        if move is None and waiting:
            move = waiting.pop(0), 0
        if move is None:
            move = promoted(True)
        if move is None:
            return spent
        trial, level = move
        spent += stops[level] - (stops[level - 1] if level else -1)
        halted[level].append(trial)
        if level == len(stops) - 1 and known[trial, -1] >= wanted:
            return spent


def saving(
    values: Array, draws: int, keep: int, stops: Sequence[int], tolerance: float = 0.0
) -> dict[str, float]:
    """Training of random search, `draws` trials in full, over that of ASHA for the same criterion.

    The same trials in the same order, of which ASHA may take more; the mean over random orders of
    what either trained. ASHA is content with `tolerance` less. `share_at_least_3` is of orders.
    Random search finds its best before its end: `until_found` counts it until then, too.
    """
    trials, rungs = values.shape
    rng = np.random.default_rng(0)
    costs, found = [], []
    for _ in range(ORDERS):
        order = rng.permutation(trials).tolist()
        wanted = float(np.nanmax(values[order[:draws], -1])) - tolerance
        costs.append(time_to_reach(values, order, wanted, keep, stops))
        found.append(rungs * (1 + int(np.argmax(values[order, -1] >= wanted))))
    full = min(draws, trials) * rungs
    return {
        "saving": full / fmean(costs),
        "until_found": fmean(found) / fmean(costs),
        "share_at_least_3": fmean([full / cost >= 3 for cost in costs]),
    }
