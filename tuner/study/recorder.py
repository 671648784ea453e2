"""Carries what happens in a study to the tracking store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tuner.study.files import Record
from tuner.study.ledger import Entry
from tuner.study.replicates import trained_with
from tuner.study.trial import TrialSpec
from tuner.tracking.tracker import Status, Tracker

# Whatever run has it at a step has the whole rung.
LAST_OF_A_RUNG = "device_seconds"

WINNER_TAG = "tuner.winner"

# A trial that was stopped early has done what it was to do; its tags say so.
_STATUS: dict[str, Status] = {
    "finished": "FINISHED",
    "stopped_early": "FINISHED",
    "failed": "FAILED",
}
# How earlier versions ended the run of a trial that was stopped early.
_STOPPED = "KILLED"


class Recorder:
    """One child run a trial. A resumed trial goes on in its own run, which the tracker finds."""

    def __init__(self, tracker: Tracker, parent: str) -> None:
        self.tracker, self.parent = tracker, parent
        self._runs: dict[int, str] = {}
        self._unsure: set[int] = set()

    def run_of(self, number: int) -> str:
        """The run of a trial, found in the store where an earlier driver began it."""
        if number not in self._runs:
            run = self.tracker.start_trial(self.parent, number, {}, {}, reopen=False)
            self._runs[number] = run
        return self._runs[number]

    def started(self, entry: Entry, spec: TrialSpec) -> None:
        # What this recorder was told of before is written, or waits to be.
        earlier = entry.number not in self._runs and entry.records
        self._begin(entry, {**spec.hyperparameters, "seed": trained_with(spec.seed, entry)})
        if earlier:
            self._fill(entry)

    def settle(
        self, entries: Iterable[Entry], params: Callable[[Entry], Mapping[str, object]]
    ) -> None:
        """Write what the store lacks of trials that have ended.

        An earlier driver may have died before it wrote, and what it kept for later with its
        machine. The ledger has it all.
        """
        known = self.tracker.statuses(self.parent)
        if known is None:
            return
        for entry in entries:
            # The end is what is written last.
            if entry.state == "running":
                continue
            status = known.get(entry.number)
            ended = status == _STATUS[entry.state] or (
                entry.state == "stopped_early" and status == _STOPPED
            )
            if ended and entry.number not in self._unsure:
                continue
            self._begin(entry, params(entry))
            self._fill(entry)
            self.ended(entry)

    def _fill(self, entry: Entry) -> None:
        """Write the rungs that the run of a trial lacks."""
        run = self._runs[entry.number]
        steps = self.tracker.steps(run, LAST_OF_A_RUNG)
        if steps is None:
            self._unsure.add(entry.number)
            return
        self._unsure.discard(entry.number)
        for record in entry.records:
            if record["rung"] not in steps:
                self.reported(entry, record)

    def _begin(self, entry: Entry, params: Mapping[str, object]) -> None:
        tags = {"tuner.method": entry.method, "tuner.kind": entry.kind}
        tags |= {"tuner.group": entry.group} if entry.group else {}
        tags |= {"tuner.origin": str(entry.origin)} if entry.origin is not None else {}
        tags |= {"tuner.warm_start": entry.source} if entry.source else {}
        self._runs[entry.number] = self.tracker.start_trial(self.parent, entry.number, tags, params)

    def reported(self, entry: Entry, record: Record) -> None:
        run = self.run_of(entry.number)
        self.tracker.log_series(run, trajectory_of(record))
        self.tracker.log_rung(run, record["rung"], metrics_of(record))

    def ended(self, entry: Entry) -> None:
        if entry.number not in self._runs:
            # An earlier driver began it, and died between its last rung and its end: `settle`
            # writes all that is missing.
            return
        run = self._runs[entry.number]
        scoring = {f"scoring.{k}": v for k, v in entry.last.get("scoring", {}).items()}
        self.tracker.log_params(run, scoring)
        reason = entry.reason or entry.state.replace("_", " ")
        tags = {"tuner.outcome": entry.state, "tuner.reason": reason}
        tags |= warning_tags(entry.warnings)
        metrics = {"device_seconds": entry.device_seconds, "rungs": float(entry.rung)}
        metrics |= {} if entry.consensus is None else {"consensus": entry.consensus}
        self.tracker.finish_trial(run, _STATUS[entry.state], metrics, tags)

    def chosen(self, lead: int, members: Sequence[int], before: Sequence[int] = ()) -> None:
        """Mark the winner's run, and those of an ensemble's members; what won `before`, when the
        study had fewer trials, is marked no more."""
        for number in {*before, *members, lead}:
            mark = "true" if number == lead else "member" if number in members else "false"
            self.tracker.tag(self.run_of(number), {WINNER_TAG: mark})

    def audited(self, audit: Mapping[str, Any]) -> None:
        """Write what labels say, now that nothing is chosen any more: of the contenders to the
        study's run, of each trial to its own."""
        found = {
            f"audit.{name}.{metric}": value
            for name in ("winner", "single", "default", "control", "best")
            for metric, value in audit.get(name, {}).items()
            if isinstance(value, float)
        }
        share = audit.get("threshold", {}).get("quantile", {})
        for name in ("normal_flagged", "anomalous_flagged"):
            found |= {f"audit.winner.{name}": share[name]} if share.get(name) is not None else {}
        self.tracker.log_series(self.parent, [(0, found)])
        for number, value in audit.get("trials", {}).get("image_auroc", {}).items():
            if value is not None:
                run = self.run_of(int(number))
                self.tracker.log_series(run, [(0, {"audit.image_auroc": value})])

    def warn(self, number: int, warnings: Sequence[str]) -> None:
        """Replace the warnings of a trial that has ended."""
        self.tracker.tag(self.run_of(number), warning_tags(warnings))


def warning_tags(warnings: Sequence[str]) -> dict[str, str]:
    """How many warnings a trial has, and their sentences."""
    return {"tuner.warnings": str(len(warnings)), "tuner.warning_text": "; ".join(warnings)}


def trajectory_of(record: Record) -> list[tuple[int, dict[str, float]]]:
    """Where learned parameters went between rungs, by the training step."""
    return [
        (step, {f"trajectory.{name}": value for name, value in values.items()})
        for step, values in record.get("trajectory", ())
    ]


def metrics_of(record: Record) -> dict[str, float]:
    """The numbers of a record as a flat series."""
    metrics = {f"criterion.{k}": v for k, v in record["criteria"].items() if v is not None}
    metrics |= {f"tuned.{k}": v for k, v in record.get("tuned", {}).items()}
    metrics |= {f"diagnostic.{k}": v for k, v in record.get("diagnostics", {}).items()}
    for name in ("train_loss", "seconds", "train_seconds", LAST_OF_A_RUNG):
        metrics[name] = record[name]
    return metrics
