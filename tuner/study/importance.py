"""How much each hyperparameter explains of the leading criterion."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from search_spaces.loader import Choice, Distribution
from tuner.study.ledger import Entry
from tuner.study.space import MethodSpace

FEWEST = 10


def importances(
    entries: Sequence[Entry], space: MethodSpace, criterion: str, seed: int = 0
) -> dict[str, float]:
    """Share of the criterion's variance that each drawn hyperparameter explains, by fANOVA
    (Hutter, Hoos and Leyton-Brown, 2014), over the trials of one method.

    Values are those of the first rung: there every trial was judged after the same training,
    those that were stopped later, too. What means nothing at a point counts as its default. Empty
    with fewer than 10 trials, or where all are alike.
    """
    import optuna

    points = [
        ({name: entry.point.get(name, space.defaults[name]) for name in space.drawn}, value)
        for entry in entries
        if entry.method == space.method and entry.records
        if (value := entry.records[0]["criteria"].get(criterion)) is not None
        if all(name in entry.point or name in space.unless for name in space.drawn)
    ]
    if len(points) < FEWEST or not space.drawn or len({value for _, value in points}) == 1:
        return {}
    distributions = {name: _distribution(d) for name, d in space.drawn.items()}
    study = optuna.create_study()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for point, value in points:
            study.add_trial(
                optuna.trial.create_trial(params=point, distributions=distributions, value=value)
            )
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=32, seed=seed)
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _distribution(distribution: Distribution) -> object:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(distribution, Choice):
        return CategoricalDistribution(distribution.values)
    if distribution.integer:
        low, high = int(distribution.low), int(distribution.high)
        return IntDistribution(low, high, log=distribution.log)
    return FloatDistribution(distribution.low, distribution.high, log=distribution.log)
