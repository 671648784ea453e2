"""How long `tuner promote` and `tuner --help` take, each in a process of its own.

Launches two studies on demo data as `make launch` does, with few steps (a promotion costs the same
however long training took), promotes the first where there is no champion, and the second against
it. Seconds of the processor are what a quiet machine would take at least; the wall clock counts
what else runs. With `--home` the versions 1 and 2 of `tile` that are there are taken, and nothing
is launched; with `--label` the figures are kept beside the others under that name.

    python benchmarks/promote_speed.py
"""

from __future__ import annotations

import argparse
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


def launch(home: str) -> None:
    for seed in ("0", "1"):
        environment = {**os.environ, "TUNER_HOME": home}
        timed(environment, *STUDY, "--name", f"study-{seed}", "--seed", seed)


def measure(home: str, repeats: int) -> dict[str, object]:
    environment = {**os.environ, "TUNER_HOME": home}
    force = ("--force", "--reason", "to be timed")
    first, second, shown = [], [], []
    for _ in range(repeats):
        shown.append(timed(environment, "--help"))
        first.append(timed(environment, "promote", "tile", "--version", "1", *force))
        second.append(timed(environment, "promote", "tile", "--version", "2", *force))
        timed(environment, "retire", "tile", "--version", "2", "--force", "--reason", "timed")
    return {
        "repeats": repeats,
        "processors": os.cpu_count(),
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "help": figures(shown),
        "promote_without_champion": figures(first),
        "promote_against_champion": figures(second),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--home", help="a TUNER_HOME with versions 1 and 2 of tile")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--label", default="now")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if given.home is None:
            launch(scratch)
        found = measure(given.home or scratch, given.repeats)
    kept = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    RESULT.write_text(json.dumps({**kept, given.label: found}, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
