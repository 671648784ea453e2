"""ST-SSAD's Fig. 3 in small: 25 kinds of anomalies of known size and ratio, made with CutDiff.

    python benchmarks/st_ssad_demo.py [--processes 2] [--sizes 0.01 0.16] [--aspects 1]

Normal images are windows of the gravel photograph that scikit-image ships, training and test
windows from parts of it that do not touch; half of the test images carry a patch of CutDiff at a
random place. Each kind is one task: the augmentation is learned from several starts as sibling
trials, one of which is taken by score variance alone. The truth (which images carry a patch, and
what patch) is opened when all trials have ended.

Writes st_ssad_demo.json and st_ssad_demo.png beside itself. Finished trials are kept: a run that
was cut off goes on.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cells import Record, finish, run
from st_ssad_picture import picture
from st_ssad_trials import SIBLING, choose, trial
from torch import Tensor

from methods.augmentation import Draw, get_augmentation
from methods.contract import Context, TrialData, unit
from methods.registry import get_method

SIZES = (0.01, 0.02, 0.04, 0.08, 0.16)
ASPECTS = (0.25, 0.5, 1.0, 2.0, 4.0)
SIDE = 32
COUNTS = {"train": 128, "held_out": 16, "good": 48, "anomalous": 48}
RUNGS = 4
VALUES: dict[str, Any] = {
    # By the triangular factor, as in the paper.
    "augmentation": "cutdiff-cholesky",
    "width": 8,
    "batch_size": 16,
    "steps": 210,
    "warm_share": 50 / 210,
    "inner_updates": 2,
    "tuning_rate": 0.025,
    "patience": 30,
}
TARGETS = {"spearman_of_sizes": 0.9, "auc": 0.99, "tasks_with_that_auc": 20}
HERE = Path(__file__)


def windows(count: int, part: str, seed: int) -> Tensor:
    """uint8 `[count, 3, SIDE, SIDE]` of one part of the photograph."""
    from PIL import Image

    from tuner.data.demo import photographs

    rng, rows = np.random.default_rng(seed), []
    for _ in range(count):
        surface = photographs.draw(rng, part, "gravel").clip(0, 1)
        image = Image.fromarray(np.rint(255 * surface).astype(np.uint8))
        rows.append(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX)))
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).contiguous()


def true_patch(size: float, aspect: float) -> dict[str, float]:
    return {"log_size": math.log(size), "log_ratio": math.log(aspect) / 2}


def patched(images: Tensor, size: float, aspect: float, seed: int) -> Tensor:
    """The images with the task's own patch at random places."""
    augmentation = get_augmentation("cutdiff")
    vector = augmentation.vector(true_patch(size, aspect))
    generator = torch.Generator().manual_seed(seed)
    draw = augmentation.draw(len(images), (SIDE, SIDE), generator)
    return (255 * augmentation.apply(unit(images), vector, draw)).round().to(torch.uint8)


def task(size: float, aspect: float, seed: int) -> tuple[TrialData, np.ndarray]:
    """The images of one task, and which of the unlabelled ones are anomalous."""
    train = windows(COUNTS["train"] + COUNTS["held_out"], "train", 2 * seed)
    test = windows(COUNTS["good"] + COUNTS["anomalous"], "test", 2 * seed + 1)
    good, bad = test.split([COUNTS["good"], COUNTS["anomalous"]])
    bad = patched(bad, size, aspect, seed + 1000)
    truth = np.arange(len(test)) >= COUNTS["good"]
    order = np.random.default_rng(seed).permutation(len(test))
    data = TrialData(
        train[: COUNTS["train"]], train[COUNTS["train"] :], torch.cat((good, bad))[order]
    )
    return data, truth[order]


def work(cell: tuple[float, float, dict[str, Any], int]) -> Record:
    size, aspect, start, seed = cell
    data, truth = task(size, aspect, seed)
    everything = np.ones(len(truth), bool)
    truths = {"anomalous": (everything, truth)}
    record = trial("st-ssad", data, start, Context(seed=seed, rungs=RUNGS), truths)
    names = list(record["tuned"])
    record["way"] = [
        [step, *size_and_aspect(dict(zip(names, values, strict=True)))]
        for step, *values in record.pop("trajectory")
    ]
    return record


def size_and_aspect(factor: Mapping[str, float]) -> tuple[float, float]:
    """A patch of CutDiff's triangular factor L: its size, and its width over its height, which are
    the deviations of the Gaussian across and down."""
    down, right = factor["l11"], math.hypot(factor["l21"], factor["l22"])
    return factor["l11"] * factor["l22"], right / down


def examples(found: Record) -> tuple[np.ndarray, np.ndarray]:
    """The same window with the task's patch and with the learned one in the middle."""
    image = unit(windows(1, "test", 7))
    draw = Draw((SIDE, SIDE), {"centre": torch.full((1, 2), 0.5)})

    def made(name: str, values: Mapping[str, float]) -> np.ndarray:
        augmentation = get_augmentation(name)
        changed = augmentation.apply(image, augmentation.vector(values), draw)[0]
        return (255 * changed).byte().permute(1, 2, 0).numpy()

    return made("cutdiff", true_patch(found["size"], found["aspect"])), made(
        VALUES["augmentation"], found["learned"]
    )


def summarise(tasks: list[Record]) -> Record:
    """Figures over the chosen trials; sizes are compared on their geometric means over aspects, and
    the other way round."""
    from scipy.stats import spearmanr

    def mean(key: str, by: str, value: float) -> float:
        chosen = [math.log(t[key]) for t in tasks if t[by] == value]
        return math.exp(sum(chosen) / len(chosen))

    def rank(pairs: list[tuple[float, float]]) -> float | None:
        return None if len(pairs) < 3 else float(spearmanr(*zip(*pairs, strict=True)).statistic)

    sizes, aspects = sorted({t["size"] for t in tasks}), sorted({t["aspect"] for t in tasks})
    aucs = [t["auc"] for t in tasks]
    good = sum(auc >= TARGETS["auc"] for auc in aucs)
    of_sizes = {s: mean("learned_size", "size", s) for s in sizes}
    of_aspects = {a: mean("learned_aspect", "aspect", a) for a in aspects}
    return {
        "tasks": len(tasks),
        "auc_mean": float(np.mean(aucs)),
        "auc_least": min(aucs),
        "tasks_with_that_auc": good,
        "spearman_of_sizes": rank(list(of_sizes.items())),
        "spearman_of_aspects": rank(list(of_aspects.items())),
        "spearman_of_sizes_at_each_aspect": {
            a: rank([(t["size"], t["learned_size"]) for t in tasks if t["aspect"] == a])
            for a in aspects
        },
        "spearman_of_aspects_at_each_size": {
            s: rank([(t["aspect"], t["learned_aspect"]) for t in tasks if t["size"] == s])
            for s in sizes
        },
        "spearman_of_sizes_over_all_tasks": rank([(t["size"], t["learned_size"]) for t in tasks]),
        "learned_size": of_sizes,
        "learned_aspect": of_aspects,
        "targets": TARGETS,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--sizes", type=float, nargs="+", default=SIZES)
    parser.add_argument("--aspects", type=float, nargs="+", default=ASPECTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE.with_suffix(".json"))
    options = parser.parse_args()
    settings = {"side": SIDE, "counts": COUNTS, "values": VALUES, "seed": options.seed}
    starts = get_method("st-ssad").starts(VALUES)  # type: ignore[attr-defined]
    kinds = [(size, aspect) for aspect in options.aspects for size in options.sizes]
    wanted = {
        f"size {size:g} aspect {aspect:g} start {number}": (size, aspect, start, options.seed)
        for size, aspect in kinds
        for number, start in enumerate(starts)
    }
    cells = run(options.out, settings, wanted, work, options.processes)
    tasks = []
    for size, aspect in kinds:
        names = [name for name, (s, a, *_) in wanted.items() if (s, a) == (size, aspect)]
        chosen = choose({name: cells[name] for name in names})
        if chosen is None:
            print(f"size {size:g} aspect {aspect:g}: every start failed", file=sys.stderr)
            continue
        record = cells[chosen]
        learned_size, learned_aspect = size_and_aspect(record["tuned"])
        tasks.append(
            {
                "size": size,
                "aspect": aspect,
                "trial": chosen,
                "siblings": names,
                "learned": record["tuned"],
                "learned_size": learned_size,
                "learned_aspect": learned_aspect,
                "auc": record["auc"]["anomalous"],
                "auc_of_all_starts": [cells[n].get("auc", {}).get("anomalous") for n in names],
                SIBLING: record[SIBLING],
                "warnings": record["warnings"],
            }
        )
    summary = {**summarise(tasks), "chosen": tasks}
    finish(options.out, settings, cells, summary)
    picture(options.out.with_suffix(".png"), tasks, cells, examples)
    for key, value in summary.items():
        if key != "chosen":
            print(f"{key}: {value}")


if __name__ == "__main__":
    main()
