"""The lines of the tables: hyperparameters, criteria, trials."""

from __future__ import annotations

from collections.abc import Sequence

from methods.criteria.registry import get_criterion
from methods.hyperparameter import by_name
from methods.registry import get_method
from tuner.report.page import CriterionRow, HyperparameterRow, TrialRow
from tuner.study.ledger import Entry
from tuner.study.space import same
from tuner.study.workbench import Workbench


def hyperparameter_rows(bench: Workbench, winner: Entry) -> list[HyperparameterRow]:
    space = bench.space(winner.method)
    values = {**space.complete(winner.point), **winner.last["scoring"]}
    defaults = {**space.complete(space.defaults), **space.grid[space.default_setting]}
    learned = dict(winner.last.get("tuned", {}))
    rows = []
    for name, declared in by_name(get_method(winner.method).hyperparameters).items():
        if name not in values:
            continue
        value, default = values[name], defaults.get(name, declared.default)
        rows.append(
            HyperparameterRow(
                name,
                declared.symbol,
                declared.help,
                declared.unit,
                _shown(value),
                _shown(default),
                declared.source,
                not same(value, default),
            )
        )
    rows += [
        HyperparameterRow(
            name,
            "",
            "learned by gradient while the trial trained",
            "",
            _shown(value),
            "–",
            "this study",
            changed=True,
            learned=True,
        )
        for name, value in learned.items()
    ]
    return rows


def criterion_rows(
    entries: Sequence[Entry], winner: Entry, default: Entry | None
) -> list[CriterionRow]:
    rows = []
    for name in winner.last["criteria"]:
        criterion = get_criterion(name)
        drawn = [
            value
            for e in entries
            if e.kind == "random" and e.method == winner.method and e.records
            if (value := e.last["criteria"].get(name)) is not None
        ]
        best = max if criterion.direction == "maximize" else min
        rows.append(
            CriterionRow(
                name,
                criterion.title,
                criterion.direction,
                criterion.source,
                winner.last["criteria"][name],
                None if default is None else default.last["criteria"].get(name),
                best(drawn) if drawn else None,
            )
        )
    return rows


def trial_row(entry: Entry, criterion: str, auroc: float | None) -> TrialRow:
    return TrialRow(
        number=entry.number,
        kind=entry.kind,
        method=entry.method,
        state=entry.state,
        rung=entry.rung,
        value=entry.last.get("criteria", {}).get(criterion),
        rungs=[record["criteria"].get(criterion) for record in entry.records],
        seconds=entry.last.get("seconds"),
        warnings=entry.warnings,
        reason=entry.reason,
        auroc=auroc,
    )


def default_of(entries: Sequence[Entry], method: str) -> Entry | None:
    found = (e for e in entries if e.kind == "default" and e.method == method and e.records)
    return next(found, None)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
