"""Numbers without labels that may tell good picks from bad ones, and whether they do."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scoring_choice import correlation
from selection_contenders import Judged
from selection_judge import Array, controls, holm, pick, threshold

from methods.criteria.aggregation import rank_correlations
from methods.criteria.referenced import reference_validation

# A pick is good that loses at most this share of what a random one loses.
WORTH = 0.5
# What is measured with labels, beside the signals.
GAIN, REGRET = "gain", "regret_of_random"


def signals(judged: Judged, name: str) -> dict[str, float]:
    """Signals of one study where a contender picked, with two figures from labels: what the pick
    gained over a random one (`gain`) and its regret over a random one's (`regret_of_random`)."""
    settings = judged.settings(name)
    found = pick(judged.values[name], settings)
    if found is None:
        return {}
    trials, default = np.arange(len(settings)), judged.study.default_setting
    at = np.stack([v[trials, settings] for v in judged.criteria.values()])
    correlations = rank_correlations(torch.from_numpy(at)).fill_diagonal_(torch.nan)
    values = judged.values[name]
    own = values[trials, settings]
    agreement = judged.consensus["rank_agreement"][:, 0]
    spread = max(float(np.nanstd(own)), 1e-12)
    random = controls(judged.auroc, default)["both"]["random"]
    return {
        "agreement_of_criteria": float(correlations.nanmean()),
        "margin": float((own[found[0]] - np.nanmean(own)) / spread),
        "ahead_of_defaults": float((own[found[0]] - values[0, default]) / spread),
        "spread": spread,
        "value": float(own[found[0]]),
        "agreement_of_trials": float(torch.tensor(agreement).nanmean()),
        "agreement_of_pick": float(agreement[found[0]]),
        "reference_validation": reference_validation(judged.study.trials[0]),
        "agreement_with_reference": float(judged.criteria["reference_agreement"][found]),
        GAIN: float(judged.auroc[found] - judged.auroc.mean()),
        REGRET: float(judged.auroc.max() - judged.auroc[found]) / random,
    }


def card(judged: list[Judged], name: str) -> dict[str, Any]:
    """How well each signal tells the studies whose pick was good."""
    rows = [(one.study.task, signals(one, name)) for one in judged]
    rows = [(task, row) for task, row in rows if row]
    tasks = np.array([task for task, _ in rows])
    regret = np.array([row[REGRET] for _, row in rows])
    good = regret <= WORTH
    found: dict[str, Any] = {"criterion": name, "worth": WORTH, "share_worth": float(good.mean())}
    chances: dict[str, float] = {}
    for signal in sorted(rows[0][1].keys() - {GAIN, REGRET}):
        values = np.array([row[signal] for _, row in rows])
        area, chances[signal] = separation(values, good)
        cut, accuracy = threshold(values, good)
        right = [
            (values[tasks == task] > threshold(values[tasks != task], good[tasks != task])[0])
            == good[tasks == task]
            for task in sorted(set(tasks))
        ]
        found[signal] = {
            "auroc": area,
            "spearman_with_regret": correlation(values, regret),
            "threshold": cut,
            "balanced_accuracy": accuracy,
            "accuracy_left_out": float(np.concatenate(right).mean()),
        }
    for signal, p in holm(chances).items():
        found[signal]["p"] = p
    return found


def separation(signal: Array, good: Array) -> tuple[float, float]:
    """AUROC of a signal `[N]` for the good studies, and the two-sided p of Mann and Whitney; NaN
    and 1 where there is one class only."""
    from scipy.stats import mannwhitneyu

    known = np.isfinite(signal)
    above, below = signal[known & good], signal[known & ~good]
    if not len(above) or not len(below):
        return float("nan"), 1.0
    found = mannwhitneyu(above, below)
    return float(found.statistic) / (len(above) * len(below)), float(found.pvalue)
