"""The arithmetic of judging: regrets of picks, their tests, and choices by leave-one-task-out.

`auroc` is `[T, S]`, the truth of T trials under S scoring settings; the values of a criterion are
`[T, S]` too, higher better, NaN where it does not apply. A regret is the AUROC that a pick falls
short of the best that there was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

Array = np.ndarray
# Regrets of contenders by task, a seed each.
Table = Mapping[str, Mapping[str, Sequence[float]]]


def best_row(values: Array) -> int | None:
    """Index of the highest of `[N]`, the first of equal ones; None where all are NaN."""
    return None if np.isnan(values).all() else int(np.nanargmax(values))


def own_settings(values: Array, default: int) -> Array:
    """The setting that a criterion picks in each trial `[T]`; the default one where it has none."""
    found = [best_row(row) for row in values]
    return np.array([default if index is None else index for index in found])


def pick(values: Array, settings: Array) -> tuple[int, int] | None:
    """The best trial, each under a setting of its own `[T]`, and that setting."""
    trial = best_row(values[np.arange(len(values)), settings])
    return None if trial is None else (trial, int(settings[trial]))


def regret_of_both(auroc: Array, values: Array, settings: Array) -> float:
    """Of choosing a trial and its setting; NaN where the criterion does not apply."""
    found = pick(values, settings)
    return math.nan if found is None else float(auroc.max() - auroc[found])


def regret_of_setting(auroc: Array, values: Array) -> float:
    """Of choosing a setting within each trial, mean over trials; NaN where none has a value."""
    found = [
        row.max() - row[index]
        for row, own in zip(auroc, values, strict=True)
        if (index := best_row(own)) is not None
    ]
    return float(np.mean(found)) if found else math.nan


def regret_of_trial(auroc: Array, values: Array, setting: int) -> float:
    """Of choosing a trial, all under the same setting."""
    trial = best_row(values[:, setting])
    column = auroc[:, setting]
    return math.nan if trial is None else float(column.max() - column[trial])


def controls(auroc: Array, default: int) -> dict[str, dict[str, float]]:
    """Regrets of a random pick (expected) and of the defaults (trial 0) in each of the choices."""
    column = auroc[:, default]
    within = auroc.max(1)
    return {
        "both": {
            "random": float(auroc.max() - auroc.mean()),
            "defaults": float(auroc.max() - auroc[0, default]),
        },
        "setting": {
            "random": float((within - auroc.mean(1)).mean()),
            "defaults": float((within - column).mean()),
        },
        "trial": {
            "random": float(column.max() - column.mean()),
            "defaults": float(column.max() - column[0]),
        },
    }


def task_means(table: Table) -> dict[str, dict[str, float]]:
    """Mean over seeds by contender and task."""
    return {
        contender: {task: _mean(values) for task, values in row.items()}
        for contender, row in table.items()
    }


def mean_regrets(table: Table) -> dict[str, float]:
    """Unweighted mean over tasks by contender."""
    return {name: _mean(list(row.values())) for name, row in task_means(table).items()}


def better_than(table: Table, control: str, over: str = "seeds") -> dict[str, float]:
    """One-sided p-values, with Holm's correction, of regrets below those of a control.

    Wilcoxon's signed-rank test, paired over all tasks and seeds, or over tasks, whose seeds share
    a batch (`over="tasks"`). 1 where no pair differs.
    """
    from scipy.stats import wilcoxon

    raw: dict[str, float] = {}
    for name, row in table.items():
        if name == control:
            continue
        pairs = []
        for task, own in row.items():
            other = table[control][task]
            if over == "tasks":
                pairs.append((_mean(own), _mean(other)))
            else:
                pairs += list(zip(own, other, strict=True))
        known = [(a, b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
        if not any(a != b for a, b in known):
            raw[name] = 1.0
            continue
        raw[name] = float(wilcoxon(*zip(*known, strict=True), alternative="less").pvalue)
    return holm(raw)


def holm(raw: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction of p-values."""
    corrected: dict[str, float] = {}
    highest = 0.0
    for place, name in enumerate(sorted(raw, key=lambda n: raw[n])):
        highest = max(highest, min(1.0, raw[name] * (len(raw) - place)))
        corrected[name] = highest
    return corrected


def leave_one_out(table: Table, candidates: Sequence[str]) -> dict[str, tuple[str, list[float]]]:
    """For each task the candidate with the lowest mean regret on the other tasks, and its regrets
    (a seed each) on this one. A candidate that does not apply to a task is not chosen."""
    means = task_means(table)
    tasks = list(next(iter(table.values())))
    whole = [c for c in candidates if all(math.isfinite(means[c][task]) for task in tasks)]
    chosen = {}
    for task in tasks:
        others = [t for t in tasks if t != task]
        name = min(whole, key=lambda c: float(np.mean([means[c][t] for t in others])))
        chosen[task] = (name, list(table[name][task]))
    return chosen


def threshold(signal: Array, good: Array) -> tuple[float, float]:
    """The cut of a signal `[N]` above which a study is called good, and its balanced accuracy.

    Between two neighbouring values where the mean of both classes' hit rates is highest; NaN where
    there is one class only.
    """
    known = np.isfinite(signal)
    signal, good = signal[known], good[known]
    if good.all() or not good.any():
        return math.nan, math.nan
    ordered = np.unique(signal)
    cuts = np.concatenate([[-math.inf], (ordered[1:] + ordered[:-1]) / 2])
    accuracy = [((signal[good] > c).mean() + (signal[~good] <= c).mean()) / 2 for c in cuts]
    found = int(np.argmax(accuracy))
    return float(cuts[found]), float(accuracy[found])


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return float(np.mean(known)) if known else math.nan
