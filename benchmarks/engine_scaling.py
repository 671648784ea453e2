"""What a study costs beside its trials, and whether that grows with their number.

    OMP_NUM_THREADS=1 python benchmarks/engine_scaling.py

Trials of no work (`idle.py`): what they take is the engine, the ledger (SQLite), the sampler, the
judging of 16 small images at each rung, and the tracking store (MLflow on SQLite). Studies of 100
and of 1,000 trials, each in a process of its own, two trials at once; the small one before and
after the large one, so that the mean of both stands for the same machine. Wanted: overhead per
trial at 1,000 trials at most 1.3 times that at 100, and a driver that grows by less than 0.3 MB a
trial. Both are told twice, for the whole study and for its last 100 trials: those show what an
average hides. Processor time of the driver does not depend on what else the machine does; wall
time, most of which is disk flushes, does.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import subprocess
import sys
import tempfile
import time
from io import StringIO
from pathlib import Path
from typing import Any

import idle
import psutil
from rich.console import Console

from tuner.screen.voice import ConsoleVoice
from tuner.study.conductor import Conductor, Observer
from tuner.study.ledger import Entry, Ledger
from tuner.study.plan import Plan

RESULT = Path(__file__).with_suffix(".json")
WANTED = {"overhead_ratio": 1.3, "mb_per_trial": 0.3}
LAST = 100


class Watch(ConsoleVoice):
    """Speaks to nobody, and writes down time and memory at each trial's end."""

    def __init__(self) -> None:
        super().__init__(Console(file=StringIO(), width=100))
        self.rows = [(0.0, 0.0, 0.0)]
        self.process = psutil.Process()
        self.began: tuple[float, float] | None = None

    def watch(self, plan: Plan, conductor: Conductor, ledger: Ledger) -> Observer | None:
        conductor.observe(self)
        return super().watch(plan, conductor, ledger)

    def started(self, entry: Entry, spec: Any) -> None:
        # Ray itself has started by then, which is no overhead of a trial.
        self.began = self.began or (time.perf_counter(), time.process_time())

    def reported(self, entry: Entry, record: Any) -> None: ...

    def ended(self, entry: Entry) -> None:
        assert self.began is not None
        wall, cpu = self.began
        memory = self.process.memory_info().rss / 1e6
        self.rows.append((time.perf_counter() - wall, time.process_time() - cpu, memory))


def conduct(trials: int, parallel: int, profile: Path | None) -> dict[str, Any]:
    """One study in this process."""
    with tempfile.TemporaryDirectory() as scratch:
        voice = Watch()
        job = idle.prepare(Path(scratch), voice, budget=str(trials), parallel=parallel)
        profiler = cProfile.Profile() if profile else None
        if profiler:
            profiler.enable()
        summary = job.run(resume=False)
        if profiler and profile:
            profiler.disable()
            profiler.dump_stats(profile)
    return told(voice.rows, summary, parallel)


def told(
    rows: list[tuple[float, float, float]], summary: dict[str, Any], parallel: int
) -> dict[str, Any]:
    """Figures of a study; `rows` are wall and processor seconds and megabytes at trials' ends."""
    trials = len(rows) - 1
    first, last = rows[min(LAST, trials) // 2], rows[-1]
    before = rows[max(0, trials - LAST)]
    counted = trials - min(LAST, trials) // 2
    in_trials = summary["trial_seconds"]
    tail = trials - max(0, trials - LAST)
    return {
        "trials": summary["trials"],
        "search_seconds": round(last[0], 1),
        "wall_seconds_per_trial": round(last[0] / trials, 4),
        "wall_seconds_per_trial_of_the_last": round((last[0] - before[0]) / tail, 4),
        "driver_processor_seconds_per_trial": round(last[1] / trials, 4),
        "driver_processor_seconds_per_trial_of_the_last": round((last[1] - before[1]) / tail, 4),
        "seconds_in_trials_per_trial": round(in_trials / trials, 4),
        "overhead_seconds_per_trial": round((last[0] - in_trials / parallel) / trials, 4),
        "driver_mb_at_the_end": round(last[2], 1),
        "driver_mb_per_trial": round((last[2] - first[2]) / max(1, counted), 4),
        "seconds_after_the_search": round(summary["seconds"] - last[0], 1),
    }


def study(trials: int, given: argparse.Namespace) -> dict[str, Any]:
    """The figures of one study, in a process of its own."""
    command = [sys.executable, __file__, "--one", str(trials), "--parallel", str(given.parallel)]
    command += ["--profile", f"{given.profile}-{trials}"] if given.profile else []
    done = subprocess.run(
        command,
        env={**os.environ, **idle.variables()},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(trials, json.dumps(found, indent=2), file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs=2, default=[100, 1000])
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--profile", type=Path, help="write the driver's profile here")
    parser.add_argument("--one", type=int, help="run one study here and print its figures")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(conduct(given.one, given.parallel, given.profile)))
        return
    least, most = min(given.trials), max(given.trials)
    studies = [study(trials, given) for trials in (least, most, least)]
    few = {
        name: (studies[0][name] + studies[2][name]) / 2
        for name, value in studies[0].items()
        if isinstance(value, float)
    }
    many = studies[1]
    ratios = {
        name: round(many[name] / few[name], 3)
        for name in few
        if "per_trial" in name and "mb" not in name and few[name]
    }
    result = {
        "processors": os.cpu_count(),
        "parallel": given.parallel,
        "studies": studies,
        "ratios": ratios,
        "wanted": WANTED,
        "kept": ratios["overhead_seconds_per_trial"] <= WANTED["overhead_ratio"]
        and many["driver_mb_per_trial"] < WANTED["mb_per_trial"],
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(ratios, indent=2), file=sys.stderr)


if __name__ == "__main__":
    main()
