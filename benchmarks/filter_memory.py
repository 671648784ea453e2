"""How good a memory of fixed filter responses is, that nothing has trained.

    python benchmarks/filter_memory.py [--data PATH --category NAME]

Image AUROC with default settings on every task of the selection benchmark (six demo surfaces with
mixed defects, three photographs with a single kind, one split of the normal images) and, with
`--data`, on each kind of defect of a category. Labels are opened for the figure only. Results of
several runs are kept together in filter_memory.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from selection_tasks import DEMO, surface, surface_names

from methods.contract import Context, unit
from methods.registry import get_method
from tuner.evaluation.image_metrics import image_auroc
from tuner.study.jsonfile import write_json

TARGET = Path(__file__).with_suffix(".json")


def measure(source: str, name: str, size: int, seed: int) -> dict[str, dict[str, float]]:
    """Image AUROC and seconds (fit and scores) of each task of one surface."""
    found = {}
    for batch, truth in surface(source, name, size).batches.items():
        data = surface(source, name, size).data(batch, seed)
        began = time.perf_counter()
        (last,) = get_method("filter-memory").fit(data, {}, Context(seed=seed, rungs=1))
        scores = last.detector.scores(unit(data.test), {}).double().numpy()
        found[f"{name}.{batch}"] = {
            "image_auroc": round(image_auroc(truth.anomalous, scores), 4),
            "seconds": round(time.perf_counter() - began, 2),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a folder of more surfaces, with labels")
    parser.add_argument("--category", nargs="+", help="surfaces of --data")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if bool(options.data) != bool(options.category):
        raise SystemExit("--data and --category go together")
    torch.set_num_threads(1)
    surfaces = [(DEMO, name) for name in surface_names()]
    if options.data:
        surfaces = [(str(Path(options.data).resolve()), name) for name in options.category]
    tasks = {}
    for source, name in surfaces:
        label = "demo" if source == DEMO else Path(source).name
        own = measure(source, name, options.size, options.seed)
        tasks |= {f"{label}:{task}": figures for task, figures in own.items()}
    kept = json.loads(TARGET.read_text())["tasks"] if TARGET.is_file() else {}
    result = {"size": options.size, "seed": options.seed, "tasks": {**kept, **tasks}}
    write_json(TARGET, result)
    for task, figures in tasks.items():
        print(f"{task:45s} {figures['image_auroc']:.3f}  {figures['seconds']:.1f} s")


if __name__ == "__main__":
    main()
