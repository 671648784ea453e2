"""Runs the trials of a study one after the other in this process: no Ray, no other process."""

from __future__ import annotations

from tuner.study.arrays import StudyArrays
from tuner.study.conductor import Conductor
from tuner.study.trial import Runtime, conduct


def run_here(conductor: Conductor, arrays: StudyArrays, runtime: Runtime | None = None) -> None:
    """Conduct a study to the end of its budget. KeyboardInterrupt leaves the trial running in
    the ledger, to be resumed."""
    while (spec := conductor.next()) is not None:
        for record in conduct(spec, arrays, runtime or Runtime()):
            if not conductor.report(spec.number, record):
                break
        else:
            conductor.end(spec.number, "failed", "the trial ended without its last rung")
