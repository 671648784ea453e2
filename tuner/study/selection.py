"""Picks the winner of a study from its ledger, by criteria only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from methods.criteria.contract import Criterion
from methods.ensemble import FEWEST_MEMBERS
from methods.hyperparameter import Value
from tuner.study.groups import passed_over
from tuner.study.ledger import Entry


class NoWinner(RuntimeError):
    """No trial of the study got as far as a rung with a defined criterion."""


def rank(entries: Sequence[Entry], objective: Criterion) -> list[Entry]:
    """Entries with a value of the criterion, best first: finished ones before stopped ones;
    controls are left out.

    A trial that was stopped early was judged after less training, so it never outranks a finished
    one. Siblings come last, all but the one that stands for them (see `groups`). Ties go to the
    earlier trial.
    """
    behind = passed_over(entries)

    def key(entry: Entry) -> tuple[bool, bool, float, int]:
        value = entry.last["criteria"][objective.name]
        sign = -1.0 if objective.direction == "maximize" else 1.0
        return entry.number in behind, entry.state != "finished", sign * value, entry.number

    judged = [
        entry
        for entry in entries
        if entry.kind != "control"
        and entry.state in ("finished", "stopped_early")
        and entry.last.get("criteria", {}).get(objective.name) is not None
    ]
    return sorted(judged, key=key)


def select(
    entries: Sequence[Entry], objectives: Sequence[Criterion], front: Sequence[int] = ()
) -> list[Entry]:
    """Entries, the winner first: by one criterion, or the front's by the sum of ranks in each.

    Raises NoWinner.
    """
    ranked = [rank(entries, objective) for objective in objectives]
    if not ranked[0]:
        raise NoWinner(_why_none(entries, objectives[0]))
    if len(objectives) == 1:
        return ranked[0]
    behind = passed_over(entries)
    able = [entry for entry in ranked[0] if entry.number not in behind]
    candidates = [entry for entry in able if not front or entry.number in front]
    places = [{entry.number: i for i, entry in enumerate(order)} for order in ranked]
    worst = len(entries)
    return sorted(
        candidates or able or ranked[0],
        key=lambda e: (sum(place.get(e.number, worst) for place in places), e.number),
    )


def _why_none(entries: Sequence[Entry], leading: Criterion) -> str:
    """Why no entry has a value of the criterion that leads."""
    judged = sum(bool(entry.last.get("criteria")) for entry in entries)
    if judged:
        return (
            f"{leading.name} leads, but is undefined for all {judged} trials that reached a rung; "
            "give another --criterion (tuner list criteria), or a method that offers it"
        )
    failed = [entry for entry in entries if entry.state == "failed"]
    reason = f"; the first failed trial says: {failed[0].reason}" if failed else ""
    return f"none of {len(entries)} trials reached a rung{reason}"


@dataclass(frozen=True)
class Winner:
    """What a study registers: the trial `lead`, or the ensemble of `members`, which it leads."""

    lead: Entry
    members: tuple[Entry, ...] = ()

    @property
    def numbers(self) -> list[int]:
        """Of the members; empty for a single trial."""
        return [member.number for member in self.members]

    @classmethod
    def of(
        cls,
        ordered: Sequence[Entry],
        size: int | None,
        each: Callable[[Entry], Value | None] | None = None,
    ) -> Winner:
        """The first of the ordered entries, or with `size` an ensemble of the first so many; with
        `each` of the first under each of its values, where the very first has one.

        Only trials that got as far as the first one take part, and no sibling that stands behind
        another. A single trial is no ensemble: where there is no second one, it wins alone.
        """
        behind = passed_over(ordered)
        lead = ordered[0]
        able = [e for e in ordered if e.state == lead.state and e.number not in behind]
        members = tuple(able[:size]) if size is not None else ()
        if each is not None and each(lead) is not None:
            first: dict[Value | None, Entry] = {}
            for entry in able:
                first.setdefault(each(entry), entry)
            members = tuple(entry for value, entry in first.items() if value is not None)
        return cls(lead, members if len(members) >= FEWEST_MEMBERS else ())

    @classmethod
    def kept(cls, entries: Sequence[Entry], registered: Mapping[str, Any]) -> Winner:
        """The winner that was written down with `trial` and, for an ensemble, `members`."""
        known = {entry.number: entry for entry in entries}
        members = tuple(known[number] for number in registered.get("members", ()))
        return cls(known[registered["trial"]], members)
