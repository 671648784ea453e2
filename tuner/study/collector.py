"""Brings what trials keep elsewhere to the driver, which judges and packages it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tuner.study.depot import DepotError
from tuner.study.files import Record, TrialFiles
from tuner.study.ledger import Entry
from tuner.study.trial import TrialSpec


class Collector:
    """An observer of a study whose trials run on other machines."""

    def __init__(self, files: Callable[[int], TrialFiles]) -> None:
        self._files = files

    def started(self, entry: Entry, spec: TrialSpec) -> None: ...

    def reported(self, entry: Entry, record: Record) -> None:
        files = self._files(entry.number)
        try:
            files.collect(int(record["rung"]))
        except DepotError:
            # Not needed yet: what is missing at the end is asked for again then.
            return

    def ended(self, entry: Entry) -> None: ...

    def complete(self, entries: Iterable[Entry]) -> None:
        """Fetch what is missing of trials that have ended. Raises DepotError."""
        for entry in entries:
            if entry.state != "running" and entry.rung:
                self._files(entry.number).collect(entry.rung)


def depot_uri(place: str | None, study: str, number: int) -> str:
    """Where a trial's files outlive its machine; empty for nowhere."""
    return f"{place.rstrip('/')}/{study}/trials/{number:04d}" if place else ""
