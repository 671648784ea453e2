"""Runs the trials of a study one after the other in this process: no Ray, no other process."""

from __future__ import annotations

import torch

from tuner.study.arrays import StudyArrays
from tuner.study.conductor import Conductor
from tuner.study.trial import Runtime, conduct


def run_here(conductor: Conductor, arrays: StudyArrays, cpus: float, gpus: float) -> None:
    """Conduct a study to the end of its budget.

    KeyboardInterrupt passes through and leaves the trial running in the ledger, to be resumed.
    """
    torch.set_num_threads(max(1, int(cpus)))
    runtime = Runtime(device=torch.device("cuda" if gpus else "cpu"))
    while (spec := conductor.next()) is not None:
        for record in conduct(spec, arrays, runtime):
            if not conductor.report(spec.number, record):
                break
        else:
            conductor.end(spec.number, "failed", "the trial ended without its last rung")
