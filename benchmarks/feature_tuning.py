"""Does CutDiff help the feature autoencoder, and does learning it by hypergradient help?

    python benchmarks/feature_tuning.py [--data DIR --category NAME] [--processes 1]

Four arms that differ in what corrupts half of each batch: nothing; a CutDiff of a hundredth of the
image and half depth; the same learned from there by hypergradient through the frozen network; the
default corruption, occlusions by foreign textures. Every arm makes its corruptions fresh at every
step. Tasks are those of `feature_tasks` (of a category with several kinds of defects, those of
`--kinds`), with three seeds; labels are opened for the figure only, image AUROC under the default
scoring. Results of several runs are kept together in feature_tuning.json beside this file, with
what was learned; a run that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from cells import Record, finish, load, run
from feature_tasks import DEMO, DEMO_SURFACES, tasks_of

from methods.backbones.table import FeatureTable
from methods.contract import Context, FeatureMethod, TrialData, unit
from methods.hyperparameter import Value
from methods.registry import get_method
from tuner.evaluation.image_metrics import image_auroc

TARGET = Path(__file__).with_suffix(".json")
CUTDIFF: dict[str, Value] = {
    "occlusion_share": 0.0,
    "cutdiff_share": 1.0,
    "cutdiff_size": 0.01,
    "cutdiff_amplitude": 0.5,
}
ARMS: Mapping[str, tuple[str, Mapping[str, Value]]] = {
    "none": ("feature-fae", {"corrupted_share": 0.0}),
    "fixed": ("feature-fae", CUTDIFF),
    "learned": ("feature-fae-tuned", {**CUTDIFF, "tuning_rate": 0.05}),
    "default": ("feature-fae", {}),
}
KINDS = ("break", "blowhole")


@dataclass(frozen=True)
class Cell:
    source: str
    category: str
    task: str
    arm: str
    seed: int
    size: int
    shared: Mapping[str, Value]


@lru_cache(maxsize=1)
def table_of(source: str, category: str, task: str, size: int) -> FeatureTable:
    """The features of a task's images, which are the same in every arm."""
    method, found = get_method("feature-fae"), tasks_of(source, category, size)[task]
    assert isinstance(method, FeatureMethod)
    images = [torch.from_numpy(part) for part in (found.normals, found.batch)]
    return method.tabulate({}, images, Context())


def train(cell: Cell) -> Record:
    torch.set_num_threads(1)
    task = tasks_of(cell.source, cell.category, cell.size)[cell.task]
    seen = task.data(cell.seed)
    tables = (table_of(cell.source, cell.category, cell.task, cell.size),)
    data = TrialData(seen.train, seen.held_out, seen.test, features=tables)
    name, values = ARMS[cell.arm]
    context = Context(seed=cell.seed, rungs=1)
    (last,) = get_method(name).fit(data, {**cell.shared, **values}, context)
    scores = last.detector.scores(unit(data.test), {}).double().numpy()
    return {
        "task": cell.task,
        "arm": cell.arm,
        "seed": cell.seed,
        "image_auroc": round(image_auroc(task.anomalous, scores), 4),
        "tuned": {key: round(value, 4) for key, value in last.tuned.items()},
    }


def summary(cells: Mapping[str, Record]) -> Record:
    """Of every task the mean over the seeds that all arms have, and the learned CutDiff's gains
    over the fixed one, seed by seed."""
    done = {(c["task"], c["seed"], c["arm"]): c for c in cells.values() if "error" not in c}
    pairs = sorted({(task, seed) for task, seed, _ in done})
    whole = [pair for pair in pairs if all((*pair, arm) in done for arm in ARMS)]

    def auroc(pair: tuple[str, int], arm: str) -> float:
        return float(done[(*pair, arm)]["image_auroc"])

    tasks: dict[str, Any] = {}
    for name in sorted({task for task, _ in whole}):
        own = [pair for pair in whole if pair[0] == name]
        means = {arm: round(statistics.mean(auroc(p, arm) for p in own), 4) for arm in ARMS}
        tasks[name] = {"seeds": len(own), **means}
    gains = [round(auroc(pair, "learned") - auroc(pair, "fixed"), 4) for pair in whole]
    means = {
        arm: round(statistics.mean(task[arm] for task in tasks.values()), 4)
        for arm in (ARMS if tasks else ())
    }
    return {
        "tasks": tasks,
        "mean_of_tasks": means,
        "learned_minus_fixed": {
            "mean": round(statistics.mean(gains), 4) if gains else None,
            "better": sum(gain > 0 for gain in gains),
            "worse": sum(gain < 0 for gain in gains),
            "pairs": len(gains),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", default=DEMO, help="a folder in MVTec AD's layout, with labels")
    parser.add_argument("--category", nargs="+", help="categories of --data")
    parser.add_argument("--kinds", nargs="+", default=KINDS, help="of several kinds of defects")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size", type=int, default=128, help="image side in pixels")
    parser.add_argument("--steps", type=int, default=150, help="training steps")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    if options.data != DEMO and not options.category:
        raise SystemExit("--data needs --category, too")
    source = DEMO if options.data == DEMO else str(Path(options.data).resolve())
    shared: dict[str, Value] = {"steps": options.steps, "corrupted_versions": 0}
    settings = {
        "size": options.size,
        "shared": shared,
        "arms": {arm: {"method": name, **values} for arm, (name, values) in ARMS.items()},
    }
    chosen = [
        (category, task)
        for category in options.category or DEMO_SURFACES
        for task in tasks_of(source, category, options.size)
        if source == DEMO or task == category or task.split()[-1] in options.kinds
    ]
    wanted = {
        f"{task}, {arm}, seed {seed}": Cell(source, category, task, arm, seed, options.size, shared)
        for seed, (category, task), arm in itertools.product(options.seeds, chosen, ARMS)
    }
    run(options.out, settings, wanted, train, options.processes)
    everything = load(options.out, settings)
    found = summary(everything)
    finish(options.out, settings, everything, found)
    print(f"{'image AUROC':28s} seeds  " + "  ".join(f"{arm:>7s}" for arm in ARMS))
    for name, row in [*found["tasks"].items(), ("mean of tasks", found["mean_of_tasks"])]:
        figures = "  ".join(f"{row[arm]:7.3f}" for arm in ARMS if row)
        print(f"{name:28s} {row.get('seeds', ''):>5}  {figures}")
    print(f"learned minus fixed: {found['learned_minus_fixed']}")


if __name__ == "__main__":
    main()
