"""How long `tuner promote` and `tuner --help` take, each in a process of its own.

Launches two studies on demo data as `make launch` does, with few steps (a promotion costs the same
however long training took), promotes the first where there is no champion, and the second against
it. Seconds of the processor are what a quiet machine would take at least; the wall clock counts
what else runs.

    python benchmarks/promote_speed.py
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULT = Path(__file__).with_suffix(".json")
REPEATS = 5
TUNER = str(Path(sys.executable).parent / "tuner")
STUDY = ("launch", "--category", "tile", "--budget", "3", "--engine", "local", "--precision",
         "float32", "--set", "steps=24")  # fmt: skip


def timed(environment: dict[str, str], *arguments: str) -> tuple[float, float]:
    """Seconds of the processor, and of the wall clock."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([TUNER, *arguments], check=True, capture_output=True, env=environment)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, wall


def figures(runs: list[tuple[float, float]]) -> dict[str, float]:
    used, wall = zip(*runs, strict=True)
    return {
        "processor_seconds": round(statistics.median(used), 2),
        "processor_seconds_least": round(min(used), 2),
        "wall_seconds": round(statistics.median(wall), 2),
        "wall_seconds_least": round(min(wall), 2),
    }


def measure(home: str) -> dict[str, object]:
    environment = {**os.environ, "TUNER_HOME": home}
    for seed in ("0", "1"):
        timed(environment, *STUDY, "--name", f"study-{seed}", "--seed", seed)
    force = ("--force", "--reason", "to be timed")
    first, second, shown = [], [], []
    for _ in range(REPEATS):
        shown.append(timed(environment, "--help"))
        first.append(timed(environment, "promote", "tile", "--version", "1", *force))
        second.append(timed(environment, "promote", "tile", "--version", "2", *force))
        timed(environment, "retire", "tile", "--version", "2", *force)
    return {
        "command": "python benchmarks/promote_speed.py",
        "repeats": REPEATS,
        "processors": os.cpu_count(),
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "help": figures(shown),
        "promote_without_champion": figures(first),
        "promote_against_champion": figures(second),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        found = measure(home)
    RESULT.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
