"""Both tables of Dehaene et al. (2020) on any data, beside the paper's figures where they exist.

    python benchmarks/projection_tables.py --data demo --categories tile carpet grid
    python benchmarks/projection_tables.py --data DIR [--quick]

Table 1: four models, each with and without projection, by pixel AUROC of the DSSIM map, and the
mean relative gain over all cells as the paper computes it (9.52 % there). Table 2: the VAE's
single-gradient scores beside its projection. And for each cell how many iterations the
error-weighted update (Eq. 8) needs to reach the final pixel AUROC of the standard one (Eq. 5).
Labels are opened for these figures only. Defaults are sizes for a processor, images whole; the
paper's are `--size 512 --tiles 4` for textures and `--size 128` for objects, `--steps 23700 --width
32 --batch 128 --code 100 --learning-rate 1e-4`.

Cells that were run before with the same options are kept: projection_tables.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from projection_paper import ORDER_OF_SCORES, PAPER_GAIN, PAPER_SCORES, PAPER_TABLE

from methods.contract import Context, TrialData, unit
from methods.energy_projection.detector import ProjectionDetector
from methods.energy_projection.model import KINDS, VARIATIONAL
from methods.energy_projection.settings import GRADIENTS
from methods.registry import get_method
from tuner.data import prepare, split
from tuner.data.opening import open_source
from tuner.evaluation import Regions, find_regions, open_labels, pixel_metrics

TARGET = Path(__file__).with_suffix(".json")
RECONSTRUCTION = {"score": "reconstruction"}
# The paper's step size, and a longer or shorter one for the update that likes it.
STEP_SIZES = {"standard": (0.5, 0.05), "weighted": (0.5, 5.0)}
CELL = ("reconstruction", "projection")
COUNTS = (1, 2, 3, 5, 7, 10, 14, 20)


class Bench:
    """One category: its data, and the pixel AUROC of any map on it."""

    def __init__(self, options: argparse.Namespace, category: str) -> None:
        size = (options.size, options.size)
        with tempfile.TemporaryDirectory() as cache:
            prepared = prepare(options.data, category, size, Path(cache))
            parts = split(prepared, options.seed, 0.15)
            hashes = [prepared.test_hashes[i] for i in parts.test_order]
            labels = open_labels(prepared.location, category, size, hashes, Path(cache))
        if labels is None or labels.masks is None:
            raise SystemExit(f"{category} has no masks; pixel AUROC needs them")
        known = np.flatnonzero(labels.mask_known | ~labels.anomalous)[: options.images]
        arrays = (parts.train[: options.normals], parts.held_out, parts.test[known])
        self.data = TrialData(*map(torch.from_numpy, arrays))
        self.images = unit(self.data.test)
        self.regions: Regions = find_regions(labels.masks[known])

    def auroc(self, maps: torch.Tensor) -> float:
        arrays = maps.numpy()
        return round(pixel_metrics(lambda: iter(arrays), self.regions).auroc, 4)

    def of(self, detector: ProjectionDetector, scoring: dict[str, Any]) -> float:
        return self.auroc(detector.maps(self.images, scoring))


def run_cell(options: argparse.Namespace, bench: Bench, model: str) -> dict[str, Any]:
    """Train one model and measure all its scores."""
    values = {
        "model": model,
        "steps": options.steps,
        "width": options.width,
        "code": options.code,
        "batch_size": options.batch,
        "learning_rate": options.learning_rate,
        "schedule": "cosine",
        "tiles_per_side": options.tiles,
        "rotation": options.rotation,
        "shift": options.shift,
    }
    began = time.process_time()
    context = Context(seed=options.seed, rungs=1)
    (progress,) = get_method("energy-projection").fit(bench.data, values, context)
    detector = progress.detector
    assert isinstance(detector, ProjectionDetector)
    found: dict[str, Any] = {
        "diagnostics": {name: round(v, 4) for name, v in progress.diagnostics.items()},
        "reconstruction": bench.of(detector, RECONSTRUCTION),
        "curves": {
            f"{update} {size:g}": curve(bench, detector, update, size)
            for update, sizes in STEP_SIZES.items()
            for size in sizes
        },
    }
    # The paper's setting: weighted update, step size 0.5.
    found["projection"] = found["curves"]["weighted 0.5"][-1]
    if model in VARIATIONAL:
        squared = {**RECONSTRUCTION, "discrepancy": "mse"}
        found["scores"] = {"reconstruction error": bench.of(detector, squared)} | {
            score: bench.of(detector, {"score": score}) for score in GRADIENTS
        }
    found["projections"] = {name: int(n) for name, n in detector.scoring_diagnostics().items()}
    found["seconds"] = round(time.process_time() - began, 1)
    return found


def curve(bench: Bench, detector: ProjectionDetector, update: str, size: float) -> list[float]:
    """Pixel AUROC after each of COUNTS iterations of one walk."""
    settings = [{"update": update, "step_size": size, "iterations": count} for count in COUNTS]
    return [bench.auroc(maps) for maps in detector.grid_maps(bench.images, settings)]


def gain(cell: dict[str, Any]) -> float:
    """Relative gain of projection over reconstruction, as in the paper's caption."""
    return float(cell["projection"] / cell["reconstruction"] - 1)


def iterations_needed(cell: dict[str, Any]) -> int | None:
    """Iterations of the weighted update to the standard one's final score, each at its better
    step size; None where it is not reached."""
    final = max(cell["curves"][f"standard {size:g}"][-1] for size in STEP_SIZES["standard"])
    reached = [
        count
        for size in STEP_SIZES["weighted"]
        for count, value in zip(COUNTS, cell["curves"][f"weighted {size:g}"], strict=True)
        if value >= final
    ]
    return min(reached, default=None)


def summarise(cells: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Means over the categories, beside the paper's, and what of its claims holds."""
    by_model: dict[str, list[dict[str, Any]]] = {}
    for key, cell in cells.items():
        by_model.setdefault(key.rpartition("/")[2], []).append(cell)
    needed = {key: iterations_needed(cell) for key, cell in cells.items() if "curves" in cell}
    half = COUNTS[-1] / 2
    return {
        "mean_pixel_auroc": {
            model: {name: _mean(cell[name] for cell in found) for name in CELL}
            for model, found in by_model.items()
        },
        "mean_pixel_auroc_of_the_vaes_scores": dict(
            zip(ORDER_OF_SCORES, _means(map(scores_of, by_model.get("vae", []))), strict=False)
        ),
        "mean_relative_gain_percent": round(100 * statistics.fmean(map(gain, cells.values())), 2),
        "relative_gain_percent": {
            model: round(100 * statistics.fmean(map(gain, found)), 2)
            for model, found in by_model.items()
        },
        "cells": len(cells),
        "weighted_reaches_standard_within_half": sum(
            n is not None and n <= half for n in needed.values()
        ),
        "iterations_needed_of_20": needed,
        "paper_mean_relative_gain_percent": PAPER_GAIN,
    }


def paper_cells() -> dict[str, dict[str, Any]]:
    """The paper's tables in the form of cells."""
    cells: dict[str, dict[str, Any]] = {
        f"mvtec:{category}/{kind}": dict(zip(CELL, values[2 * n : 2 * n + 2], strict=True))
        for category, values in PAPER_TABLE.items()
        for n, kind in enumerate(KINDS)
    }
    for category, scores in PAPER_SCORES.items():
        named = zip(ORDER_OF_SCORES[:-1], scores[:-1], strict=True)
        cells[f"mvtec:{category}/vae"]["scores"] = dict(named)
    return cells


def scores_of(cell: dict[str, Any]) -> list[float]:
    """Those of ORDER_OF_SCORES."""
    return [*cell["scores"].values(), cell["projection"]]


def _mean(values: Iterable[float]) -> float:
    return round(statistics.fmean(values), 4)


def _means(rows: Iterable[Iterable[float]]) -> list[float]:
    return [_mean(column) for column in zip(*rows, strict=True)]


def tables(cells: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Both tables as lines; below a category of MVTec AD, or the demo's picture of one, and below
    the means stands what the paper has."""
    paper, ours, theirs = paper_cells(), summarise(cells), summarise(paper_cells())
    categories = list(dict.fromkeys(key.rpartition("/")[0] for key in cells))
    known = {
        c: c.rpartition(":")[2]
        for c in categories
        if c.startswith(("mvtec:", "demo:")) and c.rpartition(":")[2] in PAPER_TABLE
    }
    yield "pixel AUROC, reconstruction -> projection"
    yield _row("category", KINDS, 18)
    for category in categories:
        yield _pairs(category, [cells.get(f"{category}/{kind}") for kind in KINDS])
        if category in known:
            found = [paper[f"mvtec:{known[category]}/{kind}"] for kind in KINDS]
            yield _pairs(f"  paper, MVTec {known[category]}", found)
    for name, summary in (("mean", ours), ("  paper, 15 categories", theirs)):
        yield _pairs(name, [summary["mean_pixel_auroc"].get(kind) for kind in KINDS])
    for name, summary in (("relative gain", ours), ("  paper", theirs)):
        gains = summary["relative_gain_percent"]
        texts = [f"{gains[kind]:+.2f} %" if kind in gains else "-" for kind in KINDS]
        yield _row(name, [*texts, f"all {summary['mean_relative_gain_percent']:+.2f} %"], 18)
    yield "\npixel AUROC of the VAE's scores"
    yield _row("category", ORDER_OF_SCORES, 22)
    for category in categories:
        if cell := cells.get(f"{category}/vae"):
            yield _row(category, [f"{v:.3f}" for v in scores_of(cell)], 22)
            if category in known:
                values = [f"{v:.3f}" for v in PAPER_SCORES[known[category]]]
                yield _row(f"  paper, MVTec {known[category]}", values, 22)
    for name, summary in (("mean", ours), ("  paper, 15 categories", theirs)):
        means = summary["mean_pixel_auroc_of_the_vaes_scores"].values()
        yield _row(name, [f"{v:.3f}" for v in means], 22)


def _pairs(name: str, found: Sequence[dict[str, Any] | None]) -> str:
    return _row(name, [" -> ".join(f"{c[n]:.3f}" for n in CELL) if c else "-" for c in found], 18)


def _row(name: str, texts: Iterable[str], width: int) -> str:
    return "  ".join([name.ljust(26), *(text.ljust(width) for text in texts)]).rstrip()


def keep(asked: dict[str, Any], cells: dict[str, dict[str, Any]]) -> None:
    result = {"options": asked, "summary": summarise(cells), "cells": cells}
    TARGET.write_text(json.dumps(result, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="demo", help="demo, or a folder in MVTec AD's layout")
    parser.add_argument("--name", help="what to call the data in the result; mvtec for MVTec AD")
    parser.add_argument("--categories", nargs="+", help="all that there are, where left out")
    parser.add_argument("--models", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--tiles", type=int, default=1, help="tiles per side; 1 takes images whole")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--code", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--rotation", type=float, default=2.0)
    parser.add_argument("--shift", type=float, default=0.05)
    parser.add_argument("--normals", type=int, default=256, help="training images at most")
    parser.add_argument("--images", type=int, default=160, help="test images at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="measure cells anew that are kept")
    parser.add_argument("--quick", action="store_true", help="small; writes nothing")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.width, options.images, options.size = 100, 8, 48, 32
    torch.set_num_threads(options.threads)
    name = options.name or (Path(options.data).name if options.data != "demo" else "demo")
    categories = options.categories or open_source(options.data).categories()
    kept = ("size", "tiles", "steps", "width", "code", "batch", "learning_rate", "rotation")
    asked = {key: getattr(options, key) for key in (*kept, "shift", "normals", "images", "seed")}
    known = json.loads(TARGET.read_text()) if TARGET.is_file() else {}
    cells = known["cells"] if known.get("options") == asked else {}
    for category in categories:
        todo = [m for m in options.models if options.again or f"{name}:{category}/{m}" not in cells]
        if not todo:
            continue
        bench = Bench(options, category)
        for model in todo:
            cells[f"{name}:{category}/{model}"] = cell = run_cell(options, bench, model)
            if not options.quick:
                keep(asked, cells)
            print(
                f"{category} {model}: {cell['reconstruction']:.3f} -> {cell['projection']:.3f}"
                f" ({cell['seconds']:.0f} s)",
                flush=True,
            )
    if not options.quick:
        keep(asked, cells)
    print("\n".join(tables(cells)))
    print(json.dumps(summarise(cells), indent=2))


if __name__ == "__main__":
    main()
