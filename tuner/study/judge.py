"""From the evidence of one rung to criteria, and to the scoring setting that goes with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.criteria.contract import Criterion, Evidence

# What siblings of a self-tuning trial are chosen by; see `tuner.study.groups`.
SIBLING_CRITERION = "score_variance_standardised"


@dataclass(frozen=True)
class Judgement:
    """What each criterion says of a detector under its chosen scoring setting.

    `values` holds None where a criterion does not apply; `by_setting` keeps all S values of every
    criterion.
    """

    setting: int
    values: Mapping[str, float | None]
    by_setting: Mapping[str, Tensor]


def judge(
    evidence: Evidence, criteria: Sequence[Criterion], leading: Criterion, scoring: Criterion
) -> Judgement:
    """Evaluate every criterion over the grid and choose one setting.

    The setting is the best by `leading` where that criterion looks at scores, else by `scoring`
    (the validation loss of ST-SSAD does not see how maps are smoothed). Ties go to the earlier
    setting; where the chooser is undefined everywhere, to the first.
    """
    by_setting = {c.name: c.evaluate(evidence) for c in criteria}
    chooser = leading if leading.sees_scoring else scoring
    setting = best_setting(by_setting[chooser.name], chooser)
    values = {name: finite(float(v[setting])) for name, v in by_setting.items()}
    return Judgement(setting, values, by_setting)


def best_setting(values: Tensor, criterion: Criterion) -> int:
    """Index of the best of S values; NaN never wins."""
    worst = -math.inf if criterion.direction == "maximize" else math.inf
    clean = torch.where(torch.isfinite(values), values, torch.full_like(values, worst))
    return int(clean.argmax() if criterion.direction == "maximize" else clean.argmin())


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
