"""Decides what runs next and what stops; the same for every engine that executes trials.

An engine asks `next()` for trials, hands their records to `report()`, and says by `end()` how a
trial ended. Everything that must survive is in the ledger before these calls return.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from methods.contract import Precision
from methods.criteria.contract import Criterion
from tuner.study.budget import Budget, Spent
from tuner.study.consensus import Consensus
from tuner.study.files import Record
from tuner.study.learned import learned_point, offers
from tuner.study.ledger import Entry, Ledger, Outcome
from tuner.study.replicates import due, to_repeat, training_seed
from tuner.study.space import MethodSpace
from tuner.study.trial import TrialSpec

MOST_DEATHS = 3
"""A trial whose process is lost this often at one rung has failed: it may be what kills it."""


class Observer(Protocol):
    """Whoever wants to know how a study goes: the tracking store, the live view."""

    def started(self, entry: Entry, spec: TrialSpec) -> None: ...

    def reported(self, entry: Entry, record: Record) -> None: ...

    def ended(self, entry: Entry) -> None: ...


@dataclass(frozen=True)
class Terms:
    """What holds for every trial of a study. `blank` is a spec without number, point and folder;
    `precisions` gives methods a number format of their own, `replicates` says how many trials at
    the end repeat the best ones (None: as many as are usual), `parallel` how many run at once."""

    budget: Budget
    objectives: Sequence[Criterion]
    random_trials: int
    rungs: int
    blank: TrialSpec
    folder: Callable[[int], str]
    early_stopping: bool = True
    precisions: Mapping[str, Precision] = field(default_factory=dict)
    depot: Callable[[int], str] = lambda number: ""
    replicates: int | None = 0
    parallel: int = 1

    @property
    def pareto(self) -> bool:
        return len(self.objectives) > 1


class Conductor:
    """The driver of one study. Not thread-safe: engines call it from one thread."""

    def __init__(
        self,
        ledger: Ledger,
        spaces: Sequence[MethodSpace],
        terms: Terms,
        observers: Sequence[Observer] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._spaces = {space.method: space for space in spaces}
        self._terms = terms
        self._observers = list(observers)
        self._clock = clock
        self._consensus = Consensus(terms.folder)
        self._began = clock()
        self._seconds_before = float(ledger.notes().get("seconds", 0.0))
        self._noted = self._seconds_before
        self._started: dict[int, float] = {}
        self._stopped: set[int] = set()
        self._interrupted = [e for e in ledger.entries() if e.state == "running"]
        self._lost_seconds = float(ledger.notes().get("lost_device_seconds", 0.0))
        self.closing = False
        self.trouble = ""

    @property
    def live(self) -> frozenset[int]:
        """Numbers of the trials that are running now."""
        return frozenset(self._started)

    @property
    def objective(self) -> Criterion:
        """The criterion that leads."""
        return self._terms.objectives[0]

    @property
    def open(self) -> bool:
        """True while `next` would give a trial."""
        return bool(self._interrupted) or not self._terms.budget.exhausted(self.spent())

    @property
    def templates(self) -> dict[str, TrialSpec]:
        """By method, what all of its trials share."""
        return {method: self.template(method) for method in self._spaces}

    @property
    def precisions(self) -> Mapping[str, Precision]:
        """The number format of each method that has one of its own."""
        return self._terms.precisions

    def template(self, method: str) -> TrialSpec:
        """A trial of a method, without a number, a point and a folder."""
        space, blank = self._spaces[method], self._terms.blank
        return replace(
            blank,
            method=method,
            grid=space.grid,
            default_setting=space.default_setting,
            precision=self._terms.precisions.get(method, blank.precision),
        )

    def folder(self, number: int) -> str:
        """Where a trial keeps its files."""
        return self._terms.folder(number)

    def observe(self, observer: Observer) -> None:
        """Tell one more observer from now on."""
        self._observers.append(observer)

    def spent(self) -> Spent:
        """What the study has used, in-flight trials included, downtime excluded."""
        entries = self._ledger.entries()
        device = self._lost_seconds + sum(map(self._charged, entries))
        return Spent(len(entries), self._seconds(), device)

    def _seconds(self) -> float:
        return self._seconds_before + self._clock() - self._began

    def _charged(self, entry: Entry) -> float:
        """Device time of a trial; of one that is running, what its process has had so far."""
        if entry.number not in self._started:
            return entry.device_seconds
        running = self._clock() - self._started[entry.number]
        return max(entry.device_seconds, running * self._terms.blank.device_rate)

    def next(self) -> TrialSpec | None:
        """The next trial, or None where the study starts no more: budget spent, or closing.

        Trials that an earlier driver left running come first and cost no new trial.
        """
        if self.closing:
            return None
        while self._interrupted:
            entry = self._interrupted.pop(0)
            if entry.rung >= self._terms.rungs:
                # Its driver died between the last report and the end.
                self.end(entry.number, "finished")
                continue
            return self._start(entry)
        if self._terms.budget.exhausted(self.spent()):
            return None
        self._offer_replicate()
        return self._start(self._ledger.ask(self._terms.random_trials))

    def _offer_replicate(self) -> None:
        """Where what is left of the budget is for replicates, offer one as the next trial."""
        entries, terms = self._ledger.entries(), self._terms
        if not due(terms.budget, self.spent(), entries, terms.replicates, terms.parallel):
            return
        best = to_repeat(entries, self.objective)
        if best is not None and not self._ledger.waiting():
            self._ledger.enqueue(best.method, best.point, "replicate", origin=best.number)

    def report(self, number: int, record: Record) -> bool:
        """Take a trial's record. False tells the engine to stop the trial now."""
        if "failed" in record:
            self.end(number, "failed", record["failed"])
            return False
        if "unkept" in record:
            self.halt(number, record["unkept"])
            return False
        leading = self._terms.objectives[0]
        value = record["criteria"].get(leading.name)
        prune = self._ledger.report(number, record, value)
        self._note_seconds()
        entry = self._ledger.entry(number)
        for observer in self._observers:
            observer.reported(entry, record)
        if record["rung"] >= self._terms.rungs:
            self.end(number, "finished")
            return False
        exempt = entry.kind in ("default", "control", "replicate") or not self._terms.early_stopping
        # Among siblings score variance chooses, at their end: no criterion may do so before.
        if prune and not entry.group and not (exempt and value is not None):
            reason = "" if value is not None else f"{leading.name} is undefined"
            self.end(number, "stopped_early", reason)
            return False
        if self.trouble:
            self.halt(number, self.trouble)
            return False
        return True

    def lost(self, number: int, reason: str) -> None:
        """The process of a trial, or its machine, is gone: it goes on elsewhere from its last rung.

        It has failed where that happens too often at one rung.
        """
        entry = self._ledger.entry(number)
        if number not in self._started or entry.state != "running":
            return
        self._lost_seconds += self._charged(entry) - entry.device_seconds
        self._ledger.note(lost_device_seconds=self._lost_seconds)
        if self._ledger.count_death(number) >= MOST_DEATHS:
            self.end(number, "failed", reason)
            return
        del self._started[number]
        self._interrupted.append(self._ledger.entry(number))

    def halt(self, number: int, trouble: str) -> None:
        """What a trial found cannot be kept, which is not its fault: start nothing more, and leave
        it running in the ledger, to be resumed."""
        self.closing, self.trouble = True, self.trouble or trouble
        self._started.pop(number, None)

    def end(self, number: int, outcome: Outcome, reason: str = "") -> None:
        """Close a trial; one that is closed already is left as it is."""
        entry = self._ledger.entry(number)
        if entry.state != "running":
            return
        values: list[float] | None = None
        if outcome == "finished":
            criteria: Mapping[str, float | None] = entry.last.get("criteria", {})
            found = [criteria.get(objective.name) for objective in self._terms.objectives]
            values = [value for value in found if value is not None]
            if len(values) < len(found):
                outcome, values, reason = (
                    "failed",
                    None,
                    "a criterion is undefined at the last rung",
                )
        if outcome != "failed":
            self._look_around(entry, outcome)
        self._ledger.end(number, outcome, values, reason)
        self._started.pop(number, None)
        self._note_seconds()
        entry = self._ledger.entry(number)
        for observer in self._observers:
            observer.ended(entry)

    def _note_seconds(self) -> None:
        """Every write is a transaction of its own; a second more or less is no matter."""
        seconds = self._seconds()
        if seconds - self._noted >= 1.0:
            self._ledger.note(seconds=seconds)
            self._noted = seconds

    def _look_around(self, entry: Entry, outcome: Outcome) -> None:
        """Before a trial is closed: whether others agree with it, and what it learned for them.

        All is in the ledger, or nothing is and the trial still counts as running: a driver that
        dies in between comes here again, and offers nothing twice.
        """
        number, entries = entry.number, self._ledger.entries()
        ended = [e.number for e in entries if e.state in ("finished", "stopped_early")]
        agreement = self._consensus.of_next(number, ended)
        if agreement is not None:
            warning = self._consensus.warning(agreement, number)
            self._ledger.remember(number, consensus=agreement)
            if warning is not None:
                self._ledger.remember(number, warnings=[warning])
        point = learned_point(entry, self._spaces[entry.method])
        if not point:
            return
        self._ledger.remember(number, learned=point)
        if outcome == "finished" and entry.kind != "replicate":
            for offer in offers(entry, entries, self._spaces.values(), self.objective):
                if not self._ledger.offered(offer.method, number):
                    self._ledger.enqueue(offer.method, offer.point, "learned", origin=number)

    def _start(self, entry: Entry) -> TrialSpec:
        spec = replace(
            self.template(entry.method),
            number=entry.number,
            hyperparameters=self._spaces[entry.method].complete(entry.point),
            folder=self._terms.folder(entry.number),
            depot=self._terms.depot(entry.number),
            after_rung=entry.rung,
            training_seed=training_seed(self._terms.blank.seed, entry.number)
            if entry.kind == "replicate"
            else None,
        )
        self._started[entry.number] = self._clock() - (
            entry.device_seconds / max(self._terms.blank.device_rate, 1e-9)
        )
        for observer in self._observers:
            observer.started(entry, spec)
        return spec
