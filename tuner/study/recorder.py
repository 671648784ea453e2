"""Carries what happens in a study to the tracking store."""

from __future__ import annotations

from tuner.study.files import Record
from tuner.study.ledger import Entry
from tuner.study.trial import TrialSpec
from tuner.tracking.tracker import Status, Tracker

_STATUS: dict[str, Status] = {"finished": "FINISHED", "stopped_early": "KILLED", "failed": "FAILED"}


class Recorder:
    """One child run a trial. A resumed trial goes on in its own run, which the tracker finds."""

    def __init__(self, tracker: Tracker, parent: str) -> None:
        self.tracker, self.parent = tracker, parent
        self._runs: dict[int, str] = {}

    def run_of(self, number: int) -> str:
        """The run of a trial, found in the store where an earlier driver began it."""
        if number not in self._runs:
            self._runs[number] = self.tracker.start_trial(self.parent, number, {}, {})
        return self._runs[number]

    def started(self, entry: Entry, spec: TrialSpec) -> None:
        tags = {"tuner.method": spec.method, "tuner.kind": entry.kind}
        params = {**spec.hyperparameters, "seed": spec.seed}
        self._runs[entry.number] = self.tracker.start_trial(self.parent, entry.number, tags, params)

    def reported(self, entry: Entry, record: Record) -> None:
        self.tracker.log_rung(self.run_of(entry.number), record["rung"], metrics_of(record))

    def ended(self, entry: Entry) -> None:
        run = self.run_of(entry.number)
        scoring = {f"scoring.{k}": str(v) for k, v in entry.last.get("scoring", {}).items()}
        reason = entry.reason or entry.state.replace("_", " ")
        tags = {"tuner.outcome": entry.state, "tuner.reason": reason, **scoring}
        metrics = {"device_seconds": entry.device_seconds, "rungs": float(entry.rung)}
        self.tracker.finish_trial(run, _STATUS[entry.state], metrics, tags)


def metrics_of(record: Record) -> dict[str, float]:
    """The numbers of a record as a flat series."""
    metrics = {f"criterion.{k}": v for k, v in record["criteria"].items() if v is not None}
    metrics |= {f"tuned.{k}": v for k, v in record.get("tuned", {}).items()}
    metrics |= {f"diagnostic.{k}": v for k, v in record.get("diagnostics", {}).items()}
    for name in ("train_loss", "seconds", "train_seconds", "device_seconds"):
        metrics[name] = record[name]
    return metrics
