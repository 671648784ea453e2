"""Which charts a study has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from methods.criteria.contract import Criterion
from search_spaces.loader import Choice, Distribution
from tuner.report.page import Chart, TrialRow
from tuner.report.page.charts import (
    Axis,
    Point,
    by_rung,
    by_trial,
    importances,
    parallel,
    scatter,
    slices,
    timeline,
    trajectories,
)
from tuner.study.importance import importances as importances_of
from tuner.study.ledger import Entry
from tuner.study.space import MethodSpace
from tuner.study.workbench import Workbench

_MOST_AXES = 8
_OVER = (
    "Found by Optuna's fANOVA over every trial of {method} that was judged at the first rung, the "
    "stopped ones, too; other evaluators, and Optuna's dashboard, which takes finished trials "
    "alone, give other shares."
)

# Comparable between methods, which raw variances are not.
_SECOND = "score_variance_standardised"


def charts_of(
    bench: Workbench, entries: Sequence[Entry], trials: Sequence[TrialRow], winner: Entry
) -> list[Chart]:
    leading = bench.objectives[0]
    charts = [
        by_trial(trials, leading.name, leading.direction, winner.number),
        by_rung(trials, leading.name, winner.number),
    ]
    space = bench.space(winner.method)
    shares = importances_of(entries, space, leading.name)
    charts += [importances(shares, _OVER.format(method=winner.method))] if shares else []
    charts += _of_values(space, entries, leading, winner, shares)
    charts += _front(bench, entries, winner)
    spans = [(e.number, e.state, e.started, e.ended) for e in entries if e.started and e.ended]
    charts += [timeline(spans)] if spans else []
    best = [e for e in entries if len(e.last.get("tuned", {})) and e.state == "finished"]
    for entry in best[:2]:
        steps, learned = _trajectory(entry)
        if len(steps) > 1:
            title = f"What trial {entry.number} learned"
            charts.append(trajectories(title, f"learned-{entry.number}", steps, learned))
    return charts


def _of_values(
    space: MethodSpace,
    entries: Sequence[Entry],
    leading: Criterion,
    winner: Entry,
    shares: Mapping[str, float],
) -> list[Chart]:
    """The leading criterion by the values of what was drawn, the most important ones first."""
    judged = [
        (float(value), entry)
        for entry in entries
        if entry.method == space.method and entry.records
        if (value := entry.last["criteria"].get(leading.name)) is not None
    ]
    sign = -1.0 if leading.direction == "maximize" else 1.0
    judged.sort(key=lambda pair: sign * pair[0])
    names = sorted(space.drawn, key=lambda name: -shares.get(name, 0.0))[:_MOST_AXES]
    if len(judged) < 2 or not names:
        return []
    points = [
        Point(
            {name: entry.point[name] for name in names if name in entry.point},
            value,
            -1 if entry.number == winner.number else rank,
        )
        for rank, (value, entry) in enumerate(judged)
    ]
    axes = {name: _axis(space.drawn[name], [p.values.get(name) for p in points]) for name in names}
    charts = [slices(points, axes, leading.name)]
    return charts + ([parallel(points, axes, leading.name)] if len(names) > 1 else [])


def _axis(distribution: Distribution, values: Sequence[Any]) -> Axis:
    """What is drawn, and what was learned or warm-started beyond it."""
    there = [value for value in values if value is not None]
    if isinstance(distribution, Choice):
        return Axis(choices=list(dict.fromkeys([*distribution.values, *there])))
    low, high = min([distribution.low, *there]), max([distribution.high, *there])
    return Axis(low, high, log=distribution.log and low > 0)


def _front(bench: Workbench, entries: Sequence[Entry], winner: Entry) -> list[Chart]:
    """Two criteria against each other: both objectives, or the leading one and the next."""
    names = [objective.name for objective in bench.objectives]
    names += [n for n in (_SECOND, *winner.last["criteria"]) if n not in names]
    if len(names) < 2:
        return []
    one, other = names[:2]
    points = [
        (float(c[one]), float(c[other]), e.number)
        for e in entries
        if (c := e.last.get("criteria", {})) and None not in (c.get(one), c.get(other))
    ]
    text = f"A trial a dot, at its last rung: {one} across, {other} up.".replace("_", " ")
    return [
        scatter(
            "Two criteria",
            "front",
            points,
            axes_names=(one, other),
            winner=winner.number,
            text=text,
        )
    ]


def _trajectory(entry: Entry) -> tuple[list[int], dict[str, list[float]]]:
    """Steps, and what each learned parameter was at them."""
    steps: list[int] = []
    learned: dict[str, list[float]] = {}
    for record in entry.records:
        for step, values in record.get("trajectory", ()):
            steps.append(int(step))
            for name, value in values.items():
                learned.setdefault(name, []).append(float(value))
    whole = {name: values for name, values in learned.items() if len(values) == len(steps)}
    # An angle may have gone round: half a turn is the same patch.
    turned = {
        name: np.unwrap(values, period=np.pi).tolist() if name.endswith("angle") else values
        for name, values in whole.items()
    }
    return steps, turned
