"""The control arms of a study: what a search must beat to have been worth its budget.

They are trials like any other and inside the budget: the defaults (kind `default`, never
stopped early, and compared under their own scoring), and draws at random (kind `random`,
judged as every trial is). Without labels the comparison is by criteria, and a winner that was
chosen by one is the best by that one: what the others say is worth more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tuner.study.ledger import Entry
from tuner.study.pool import Pool


def default_of(entries: Sequence[Entry], method: str) -> Entry | None:
    """The trial at the defaults of a method; None where it was not judged."""
    return next(
        (e for e in entries if e.kind == "default" and e.method == method and e.records), None
    )


def control_of(entries: Sequence[Entry]) -> Entry | None:
    """The trial of a method that trains nothing; None where there is none that was judged."""
    return next((e for e in entries if e.kind == "control" and e.records), None)


def compare(
    pool: Pool,
    winner: int,
    defaults: Mapping[str, float | None],
    control: Entry | None = None,
) -> dict[str, Any]:
    """What the search gained over its control arms, by each criterion.

    `winner` is a trial's number; `defaults` are the criteria of the defaults of its method under
    the default scoring, `control` is a trial that trained nothing. Gains are positive where the
    winner is better, whichever way the criterion points; None where one side is undefined.
    `default_rescored` is the same trial under the scoring that was chosen for it.
    `random_beaten` is the share of the random draws that the winner beats, a tie counting half.
    """
    drawn = [place for place in pool.of_kind("random") if pool.numbers[place] != winner]
    default = default_of(pool.entries, pool.entries[pool.place(winner)].method)
    return {
        "default": None if default is None else default.number,
        "random": [pool.numbers[place] for place in drawn],
        "control": None if control is None else {"trial": control.number, "method": control.method},
        "random_finished": int(pool.finished[drawn].sum()) if drawn else 0,
        "criteria": {
            name: {
                **_compared(pool, name, pool.place(winner), drawn, defaults.get(name)),
                "default_rescored": None
                if default is None
                else _number(pool.criteria[name][pool.place(default.number)]),
                **_beside(pool, name, pool.place(winner), control),
            }
            for name in pool.criteria
        },
    }


def _compared(
    pool: Pool, name: str, winner: int, drawn: Sequence[int], default: float | None
) -> dict[str, float | None]:
    sign = 1.0 if pool.declared[name].direction == "maximize" else -1.0
    values = pool.criteria[name]
    own = values[winner]
    others = values[list(drawn)][np.isfinite(values[list(drawn)])]
    found: dict[str, float | None] = {
        "winner": _number(own),
        "default": default,
        "over_default": None if default is None else _number(sign * (own - default)),
        "random": None,
        "over_random": None,
        "random_beaten": None,
    }
    if len(others):
        better = sign * (own - others)
        found |= {
            "random": float(others.mean()),
            "over_random": _number(float(better.mean())),
            "random_beaten": None
            if np.isnan(own)
            else float(((better > 0) + 0.5 * (better == 0)).mean()),
        }
    return found


def _beside(pool: Pool, name: str, winner: int, control: Entry | None) -> dict[str, float | None]:
    """The control's value of a criterion, and how far the winner is ahead of it."""
    value = None if control is None else control.last["criteria"].get(name)
    if value is None:
        return {"control": None, "over_control": None}
    sign = 1.0 if pool.declared[name].direction == "maximize" else -1.0
    return {
        "control": value,
        "over_control": _number(sign * (pool.criteria[name][winner] - value)),
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
