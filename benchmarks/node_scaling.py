"""Wall time of a study on two nodes of a Ray cluster against one, for trials bound by processors.

    OMP_NUM_THREADS=1 python benchmarks/node_scaling.py

This machine has too few processors for two nodes of its own, so trials wait instead of training
(`idle.py`): a node declares two, a trial takes one and waits, and what is measured is whether the
engine fills the nodes that there are. A head without processors of its own holds the driver. Real
nodes by `ray start`; ledger and tracking store in SQLite. Wanted: at most 0.6 of the wall time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import idle
from servers import ray_nodes

RESULT = Path(__file__).with_suffix(".json")
WANTED = 0.6
PROCESSORS = 2
STEPS = 400


def conduct(address: str, nodes: int, trials: int, seconds: float) -> dict[str, Any]:
    """One study in this process, on a cluster that is there."""
    from tuner.voice import Silent

    with tempfile.TemporaryDirectory() as scratch:
        job = idle.prepare(
            Path(scratch), Silent(), address=address, budget=str(trials), early_stopping=False,
            parallel=nodes * PROCESSORS, cpus_per_worker=1,
            pins={"steps": STEPS, "pause": seconds / STEPS},
        )  # fmt: skip
        began = time.monotonic()
        summary = job.run(resume=False)
        wall = time.monotonic() - began
    return {
        "trials": summary["trials"],
        "search_seconds": summary["search_seconds"],
        "whole_seconds": round(wall, 1),
        "trial_seconds": summary["trial_seconds"],
    }


def measure(nodes: int, trials: int, seconds: float) -> dict[str, Any]:
    """Start a cluster with so many nodes and run a study on it, in a process of its own."""
    names = {f"node-{number}": PROCESSORS for number in range(nodes)}
    variables = {**os.environ, **idle.variables()}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="n")))
        address, _, _ = stack.enter_context(ray_nodes(folder, names, variables))
        command = [sys.executable, __file__, "--on", address, "--nodes", str(nodes)]
        command += ["--trials", str(trials), "--seconds", str(seconds)]
        done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20.0, help="that a trial waits")
    parser.add_argument("--on", help="run one study here, on the cluster at this address")
    parser.add_argument("--nodes", type=int, default=1, help="with --on: of that cluster")
    given = parser.parse_args()
    if given.on:
        print(json.dumps(conduct(given.on, given.nodes, given.trials, given.seconds)))
        return
    found = {}
    for nodes in (1, 2):
        found[str(nodes)] = measure(nodes, given.trials, given.seconds)
        print(f"{nodes}: {found[str(nodes)]}", file=sys.stderr)
    ratios = {
        name: round(found["2"][name] / found["1"][name], 3)
        for name in ("search_seconds", "whole_seconds")
    }
    result = {
        "note": "trials wait instead of training: this machine has too few processors",
        "processors": os.cpu_count(),
        "declared_processors_of_a_node": PROCESSORS,
        "trials": given.trials,
        "seconds_of_a_trial": given.seconds,
        "nodes": found,
        "ratios": ratios,
        "wanted": WANTED,
        "kept": ratios["search_seconds"] <= WANTED,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
