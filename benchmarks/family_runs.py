"""Trainings of the filtering autoencoder's family on the demo, for the scripts beside this one.

Every training is one (category, arm, seed); they run in a pool of processes of one thread each, and
labels are opened for the figures only. Figures are fractions; a spread is the standard deviation
over the seeds, mean over the categories.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from methods.contract import Context, MapDetector, Progress, TrialData, unit
from methods.hyperparameter import Value, complete
from methods.registry import get_method
from tuner.data import prepare, split
from tuner.data.demo.catalogue import names
from tuner.evaluation import image_auroc
from tuner.evaluation.audit import open_labels

# The map and the image score of every arm: the paper's discrepancy, and a local image score.
MAPS: Mapping[str, Value] = {"discrepancy": "ssim"}
IMAGES: Mapping[str, Value] = {"discrepancy": "mse", "pooling": "topk_relative"}
DATA_SEED = 0
SHARED: Mapping[str, Value] = {"width": 8, "batch_size": 8, "learning_rate": 3e-3}


@dataclass(frozen=True)
class Arm:
    """What one side of a comparison trains."""

    method: str
    values: Mapping[str, Value]


@dataclass(frozen=True)
class Run:
    category: str
    name: str
    arm: Arm
    seed: int
    size: int
    shared: Mapping[str, Value]
    cache: Path


def parser(description: str, arms: Sequence[str]) -> argparse.ArgumentParser:
    parsed = argparse.ArgumentParser(description=description)
    parsed.add_argument("--arms", nargs="+", choices=arms, default=arms)
    parsed.add_argument("--categories", nargs="+", default=names())
    parsed.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parsed.add_argument("--size", type=int, default=48, help="image side in pixels")
    parsed.add_argument("--steps", type=int, default=150, help="training steps")
    parsed.add_argument("--processes", type=int, default=2)
    return parsed


@dataclass(frozen=True)
class Trained:
    """A detector, what its training said, the unlabelled images in [0, 1] and the truth of them."""

    progress: Progress
    images: Tensor
    anomalous: np.ndarray
    masks: np.ndarray


def trained(run: Run) -> Trained:
    torch.set_num_threads(1)
    size = (run.size, run.size)
    prepared = prepare("demo", run.category, size, run.cache)
    parts = split(prepared, DATA_SEED, 0.2)
    hashes = [prepared.test_hashes[i] for i in parts.test_order]
    labels = open_labels("demo", run.category, size, hashes, run.cache)
    assert labels is not None and labels.masks is not None
    data = TrialData(*map(torch.from_numpy, (parts.train, parts.held_out, parts.test)))
    method = get_method(run.arm.method)
    values = complete(method.hyperparameters, {**run.shared, **run.arm.values}, "training")
    # bfloat16 where a processor has it; the same for every arm.
    context = Context(seed=run.seed, rungs=1, precision="bfloat16", channels_last=True)
    progress: Progress = list(method.fit(data, values, context))[-1]
    return Trained(progress, unit(data.test), labels.anomalous, labels.masks)


def aurocs(found: Trained, **scoring: Value) -> dict[str, float]:
    """Image and pixel AUROC, with further scoring hyperparameters."""
    detector = cast(MapDetector, found.progress.detector)
    scores = detector.scores(found.images, {**IMAGES, **scoring}).numpy()
    maps = detector.maps(found.images, {**MAPS, **scoring}).numpy()
    return {
        "image_auroc": image_auroc(found.anomalous, scores),
        "pixel_auroc": image_auroc(found.masks.ravel(), maps.ravel()),
    }


def train(run: Run) -> dict[str, Any]:
    """One training's figures."""
    found = trained(run)
    return {
        "category": run.category,
        "arm": run.name,
        "seed": run.seed,
        **aurocs(found),
        **found.progress.diagnostics,
        "tuned": dict(found.progress.tuned),
    }


def compare(
    arms: Mapping[str, Arm], options: argparse.Namespace, figures: Sequence[str], target: Path
) -> None:
    """Train the chosen arms on every category with every seed, and write what came out."""
    arms = {name: arms[name] for name in options.arms}
    shared = {**SHARED, "steps": options.steps}
    done = []
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        runs = [
            Run(category, name, arm, seed, options.size, shared, cache)
            for category, seed, (name, arm) in itertools.product(
                options.categories, options.seeds, arms.items()
            )
        ]
        for category in options.categories:
            prepare("demo", category, (options.size, options.size), cache)
        with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
            for found in pool.imap(train, runs):
                done.append(found)
                row = "  ".join(f"{name} {found[name]:.4f}" for name in figures)
                print(
                    f"{found['category']:8s} {found['arm']:9s} {found['seed']}  {row}", flush=True
                )
    result = {
        "data": f"demo, {', '.join(options.categories)}, {options.size} x {options.size}",
        "seeds": options.seeds,
        "shared": shared,
        "arms": {name: {"method": arm.method, **arm.values} for name, arm in arms.items()},
        "summary": {name: _summary(done, name, figures) for name in arms},
        "runs": [
            {k: round(v, 5) if isinstance(v, float) else v for k, v in found.items()}
            for found in done
        ],
    }
    target.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["summary"], indent=2))


def _summary(
    done: Sequence[Mapping[str, Any]], arm: str, figures: Sequence[str]
) -> dict[str, dict[str, float]]:
    own = [found for found in done if found["arm"] == arm]
    categories = sorted({found["category"] for found in own})
    summary = {}
    for name in figures:
        by_category = [[f[name] for f in own if f["category"] == c] for c in categories]
        spreads = [statistics.stdev(values) for values in by_category if len(values) > 1]
        summary[name] = {
            "mean": round(statistics.mean(v for values in by_category for v in values), 4),
            "spread": round(statistics.mean(spreads), 4) if spreads else 0.0,
        }
    return summary
