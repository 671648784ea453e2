"""What judging a whole scoring grid costs, as a share of the trial it comes with.

    python benchmarks/scoring_grid.py [--size 64] [--images 220] [--steps 400] [--rungs 4]

Training steps of the filtering autoencoder and grid evaluations take turns in one process, so that
other load on the machine falls on both alike; processor time, and the fastest of each, count. A
trial is its training steps and, at each rung, the judged images' way through the network, the
statistics of the held-out ones' maps, and the grid.
Writes `scoring_grid.json` beside itself.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from methods.contract import Context, Precision, TrialData
from methods.hyperparameter import Value, complete
from methods.scoring.pipeline import TIER, grid_scores, measured, scores
from methods.scoring.tier import expand
from search_spaces.loader import load_search_space

TARGET = 0.05
HELD_OUT = 20
# The grid that ships: what a study judges at each rung.
GRID: dict[str, list[Value]] = {
    name: list(values) for name, values in load_search_space("fae").scoring.items()
}


def training(arguments: argparse.Namespace, precision: Precision) -> Any:
    """A filtering autoencoder's trial: a step is corruption, forward, backward and Adam."""
    from methods.filtering_autoencoder.method import FilteringAutoencoder
    from methods.filtering_autoencoder.training import Training

    size = (3, arguments.size, arguments.size)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, *size), dtype=torch.uint8, generator=generator)
    values = {
        "width": arguments.width,
        "batch_size": arguments.batch,
        "steps": arguments.steps,
    }
    full = complete(FilteringAutoencoder.hyperparameters, values)
    context = Context(precision=precision, channels_last=precision == "bfloat16")
    return Training(TrialData(images, images[:8], images[:8]), full, context)


def seconds(function: Callable[[], object]) -> float:
    """Processor seconds of this process, over all its threads."""
    start = time.process_time()
    function()
    return time.process_time() - start


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    torch.set_num_threads(arguments.threads)
    grid = expand(TIER, GRID)
    shape = (arguments.images, 3, arguments.size, arguments.size)
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(arguments.images, 3, 8, 8, generator=generator)
    images = F.interpolate(coarse, shape[2:], mode="bilinear")
    images = (images + 0.05 * torch.randn(shape, generator=generator)).clamp(0, 1)
    reconstruction = F.avg_pool2d(images, 3, 1, 1)

    float32, bfloat16 = training(arguments, "float32"), training(arguments, "bfloat16")
    detector = bfloat16.detector()
    statistics = measured(images[:HELD_OUT], reconstruction[:HELD_OUT])
    tasks: dict[str, Callable[[], object]] = {
        "step_float32": float32.step,
        "step_bfloat16": bfloat16.step,
        "forward": lambda: detector.reconstruct(images),
        "statistics": lambda: measured(images[:HELD_OUT], reconstruction[:HELD_OUT]),
        "grid": lambda: grid_scores(images, reconstruction, grid, statistics),
    }
    fastest = dict.fromkeys(tasks, float("inf"))
    for turn in range(arguments.repeats + 1):
        for name, task in tasks.items():
            for _ in range(5 if name.startswith("step") else 1):
                took = seconds(task)
                if turn:  # the first turn warms up
                    fastest[name] = min(fastest[name], took)
    looped = seconds(
        lambda: [scores(images, reconstruction, setting, statistics) for setting in grid]
    )

    def share(step: float) -> float:
        """Of a trial; the network's part of judging is taken at its faster format."""
        judging = arguments.rungs * (fastest["grid"] + fastest["statistics"])
        other = arguments.steps * step + arguments.rungs * fastest["forward"]
        return round(judging / (judging + other), 4)

    step = min(fastest["step_float32"], fastest["step_bfloat16"])
    return {
        "settings": len(grid),
        "images": arguments.images,
        "size": arguments.size,
        "threads": arguments.threads,
        "width": arguments.width,
        "batch": arguments.batch,
        "steps": arguments.steps,
        "rungs": arguments.rungs,
        "processor": platform.processor() or platform.machine(),
        "step_float32_seconds": round(fastest["step_float32"], 5),
        "step_bfloat16_seconds": round(fastest["step_bfloat16"], 5),
        "statistics_seconds": round(fastest["statistics"], 4),
        "grid_seconds": round(fastest["grid"], 4),
        "one_by_one_seconds": round(looped, 3),
        "grid_in_steps": round(fastest["grid"] / step, 2),
        "forward_seconds": round(fastest["forward"], 4),
        "share_of_trial": share(step),
        "share_of_trial_float32": share(fastest["step_float32"]),
        "target": TARGET,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64, help="image side in pixels")
    parser.add_argument("--images", type=int, default=220, help="images scored at a rung")
    parser.add_argument("--width", type=int, default=8, help="channels of the U-Net's first level")
    parser.add_argument("--batch", type=int, default=16, help="images in a training step")
    parser.add_argument("--steps", type=int, default=400, help="training steps of a trial")
    parser.add_argument("--rungs", type=int, default=4, help="rungs of a trial")
    parser.add_argument("--threads", type=int, default=1, help="threads of both")
    parser.add_argument("--repeats", type=int, default=12, help="turns; the fastest counts")
    result = measure(parser.parse_args())
    text = json.dumps(result, indent=2)
    Path(__file__).with_suffix(".json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
