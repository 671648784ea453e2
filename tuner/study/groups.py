"""Sibling trials: one self-tuning trial begun from each of its usual initial values.

The paper runs a task from several initial values and keeps the one whose scores vary most (ST-SSAD,
section 3.3). Here each initial value is a trial of its own, so that budget, scheduler and resume
treat it like any other, and the siblings share a group in the ledger. The method's default trial
is the first of its group; points that the sampler draws bring their own initial values along and
have no siblings.

Among siblings only score variance decides, whatever a study's criteria: they judge the one that was
chosen against the other trials. So no sibling is stopped early, which would choose by a criterion.
The validation loss that siblings descend is lower, too, where augmented embeddings merely scatter
more, so it compares moments of one trial and not trials.
The raw variance is no better a judge of a collapsed embedding, where distances in units of next to
nothing vary without bound. Hence the variance that counts is `score_variance_standardised`, in
units of held-out normal images and under the method's default scoring, and a sibling that its
method does not call comparable (nothing learned, or embeddings collapsed) stands behind the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tuner.study.judge import SIBLING_CRITERION
from tuner.study.ledger import Entry


def groups_of(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The members of each group, in the order of their trials."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.group:
            found.setdefault(entry.group, []).append(entry)
    return found


def representative(members: Sequence[Entry]) -> Entry | None:
    """The sibling that stands for its group; None while none has ended with a judgement.

    A trial that ended at its last rung comes before one that was stopped, a comparable one before
    one that is not, then the larger variance counts, then the earlier trial.
    """
    judged = [m for m in members if m.state in ("finished", "stopped_early") and m.records]
    return min(judged, key=_standing, default=None)


def _standing(entry: Entry) -> tuple[bool, bool, float, int]:
    variance = entry.last.get("sibling_variance")
    return (
        entry.state != "finished",
        not entry.last.get("comparable", True),
        math.inf if variance is None else -variance,
        entry.number,
    )


def passed_over(entries: Sequence[Entry]) -> frozenset[int]:
    """Numbers of the siblings that cannot win, because another one stands for their group."""
    numbers: set[int] = set()
    for members in groups_of(entries).values():
        chosen = representative(members)
        numbers |= {m.number for m in members if chosen is not None and m.number != chosen.number}
    return frozenset(numbers)


def describe(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Every group with its members: where they differ, how they ended, which one was chosen."""
    described = []
    for name, members in groups_of(entries).items():
        chosen = representative(members)
        keys = [
            key
            for key in dict.fromkeys(key for m in members for key in m.point)
            if len({m.point.get(key) for m in members}) > 1
        ]
        described.append(
            {
                "group": name,
                "chosen": None if chosen is None else chosen.number,
                "chosen_by": SIBLING_CRITERION,
                "members": [
                    {
                        "trial": m.number,
                        "start": {key: m.point.get(key) for key in keys},
                        "learned": dict(m.last.get("tuned", {})),
                        "state": m.state,
                        SIBLING_CRITERION: m.last.get("sibling_variance"),
                        "comparable": m.last.get("comparable"),
                    }
                    for m in members
                ],
            }
        )
    return described
