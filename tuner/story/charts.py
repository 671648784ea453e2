"""Which charts a study has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuner.report.page import Chart, TrialRow
from tuner.report.page.charts import by_rung, by_trial, importances, scatter, trajectories
from tuner.study.importance import importances as importances_of
from tuner.study.ledger import Entry
from tuner.study.workbench import Workbench

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
    shares = importances_of(entries, bench.space(winner.method), leading.name)
    charts += [importances(shares)] if shares else []
    charts += _front(bench, entries, winner)
    best = [e for e in entries if len(e.last.get("tuned", {})) and e.state == "finished"]
    for entry in best[:2]:
        steps, learned = _trajectory(entry)
        if len(steps) > 1:
            title = f"What trial {entry.number} learned"
            charts.append(trajectories(title, f"learned-{entry.number}", steps, learned))
    return charts


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
