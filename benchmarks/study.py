"""Runs whole studies by the command line and writes what came of them.

For each seed: wall time and peak memory of the whole process tree, how much of the slots' time was
spent in trials, and the audited figures of the winner, the paper's defaults and the best trial.

    python benchmarks/study.py --name demo_tile
    python benchmarks/study.py --name commutator --data DIR --category commutator --size 96

The last result of each name lies beside this script as study_<name>.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

FIGURES = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro")


def tree_bytes(process: psutil.Process) -> int:
    """Proportional memory of a process and everything below it: shared pages count once."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_full_info().pss
        except psutil.Error:
            continue
    return total


class Peak(threading.Thread):
    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process, self.bytes, self.stopped = psutil.Process(pid), 0, threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(2.0):
            try:
                self.bytes = max(self.bytes, tree_bytes(self.process))
            except psutil.Error:
                return


def run_study(arguments: list[str], home: Path) -> dict[str, object]:
    command = [str(Path(sys.executable).parent / "tuner"), "launch", "--json", *arguments]
    environment = {**os.environ, "TUNER_HOME": str(home)}
    began = time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        peak = Peak(process.pid)
        peak.start()
        out, _ = process.communicate()
        peak.stopped.set()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    summary = json.loads(out)
    wall = time.monotonic() - began
    slots = summary["search_seconds"] * summary["parallel"]
    return {
        "wall_seconds": round(wall, 1),
        "peak_memory_gb": round(peak.bytes / 1e9, 2),
        "search_seconds": summary["search_seconds"],
        "overhead_of_search": round(1 - summary["trial_seconds"] / slots, 3),
        "overhead_of_whole_study": round(
            1 - summary["trial_seconds"] / (wall * summary["parallel"]), 3
        ),
        "judging_share_of_trials": round(
            1 - summary["train_seconds"] / summary["trial_seconds"], 3
        ),
        "trials": summary["trials"],
        "winner": summary["winner"],
        "audit": summary["audit"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True)
    parser.add_argument("--data", default="demo")
    parser.add_argument("--category", default="tile")
    parser.add_argument("--budget", default="50")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--keep", type=Path, help="keep each study's folder below this one")
    parser.add_argument("rest", nargs="*", help="further options of tuner launch, after --")
    options = parser.parse_args()
    target = Path(__file__).with_name(f"study_{options.name}.json")
    asked = {
        "data": "demo" if options.data == "demo" else Path(options.data).name,
        "category": options.category,
        "budget": options.budget,
        "options": options.rest,
        "processors": os.cpu_count(),
    }
    known = json.loads(target.read_text()) if target.is_file() else {}
    # Seeds of the same study that were run before are kept.
    same = {name: known.get(name) for name in asked} == asked
    runs = known["seeds"] if same else {}
    for seed in options.seeds:
        arguments = ["--category", options.category, "--data", options.data]
        arguments += ["--budget", options.budget, "--seed", str(seed), *options.rest]
        with tempfile.TemporaryDirectory() as scratch:
            home = Path(scratch) if options.keep is None else options.keep / str(seed)
            runs[str(seed)] = run_study(arguments, home)
        result = {**asked, "seeds": runs}
        target.write_text(json.dumps(result, indent=2) + "\n")
        audit = runs[str(seed)]["audit"]
        print(f"seed {seed}: {runs[str(seed)]['wall_seconds']} s", file=sys.stderr)
        for who in ("winner", "default", "best"):
            figures = audit[who] if audit else {}
            row = "  ".join(f"{name} {figures.get(name) or float('nan'):.3f}" for name in FIGURES)
            print(f"  {who:8s} {row}", file=sys.stderr)


if __name__ == "__main__":
    main()
