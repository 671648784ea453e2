"""Begins a study with the best points of another, of another category as a rule.

They are offered to the sampler after the defaults and before its random draws, each as a trial of
its own inside the budget, marked `warm` in the ledger with the study and trial that it is from.
What did well elsewhere is a guess here, and its result teaches the sampler like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tuner.study.config import StudyConfig, StudyDamaged, ledger_url, read_config
from tuner.study.database import LedgerUnreachable
from tuner.study.home import Home
from tuner.study.jsonfile import read_json, write_json
from tuner.study.ledger import Entry, Ledger, StudyNotFound, WarmPoint
from tuner.study.selection import rank
from tuner.study.space import MethodSpace
from tuner.study.study_level import leading_criterion

# Few: each takes a trial of the budget.
WARM_POINTS = 3


def find_warm_points(
    config: StudyConfig, home: Home, spaces: Sequence[MethodSpace]
) -> tuple[WarmPoint, ...]:
    """The points that a study begins with, those that it began with where it has begun already.

    Raises ValueError for an unknown study, for the study itself, or where nothing of it fits.
    """
    if config.warm_start is None:
        return ()
    kept = home.study(config.name).warm_start
    if kept.is_file():
        cure = f"move it away: the points are then looked for in {config.warm_start} again"
        return tuple(WarmPoint(**point) for point in read_json(kept, cure))
    theirs = _their_config(config, home)
    if theirs is None:
        known = ", ".join(name for name in home.study_names() if name != config.name) or "none yet"
        raise ValueError(
            f"warm_start is {config.warm_start!r}, but must be another study under {home.path}; "
            f"there are: {known}"
        )
    try:
        entries = Ledger.read(ledger_url(theirs, home), theirs.name).entries()
    except StudyNotFound:
        entries = []
    ranked = rank(entries, leading_criterion(theirs))
    points = warm_points(ranked, spaces, config.warm_start)
    if not points:
        tried = ", ".join(sorted({e.method for e in ranked})) or "none"
        wanted = ", ".join(space.method for space in spaces)
        raise ValueError(
            f"{config.warm_start} has no judged trial of {wanted} that differs from the defaults; "
            f"its judged trials are of: {tried}"
        )
    return points


def _their_config(config: StudyConfig, home: Home) -> StudyConfig | None:
    """Of the other study; None where there is none, or it is the study itself."""
    if config.warm_start is None or config.warm_start == config.name:
        return None
    try:
        return read_config(config.warm_start, home)
    except (LedgerUnreachable, StudyDamaged):
        raise
    except ValueError:
        return None


def warm_points(
    ranked: Sequence[Entry], spaces: Sequence[MethodSpace], source: str, count: int = WARM_POINTS
) -> tuple[WarmPoint, ...]:
    """The best points of a study, best first, moved into the spaces of another.

    Of each method at most `count` different ones that are not its defaults. A value outside its
    range is moved to the end of it, a choice that is not offered becomes the default, and only
    what the space draws is taken.
    """
    known: Mapping[str, MethodSpace] = {space.method: space for space in spaces}
    found: list[WarmPoint] = []
    for entry in ranked:
        space = known.get(entry.method)
        if space is None:
            continue
        point = space.nearest({n: v for n, v in entry.point.items() if n in space.drawn})
        tried = [w.point for w in found if w.method == entry.method]
        if len(tried) < count and not any(space.alike(point, p) for p in (space.defaults, *tried)):
            found.append(WarmPoint(entry.method, point, f"{source} trial {entry.number}"))
    return tuple(found)


def keep_warm_points(path: Path, points: Sequence[WarmPoint]) -> None:
    """Write down what a study begins with: the other one may go on, or go away."""
    if points:
        write_json(path, [asdict(point) for point in points])
