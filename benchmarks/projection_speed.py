"""What a projection costs beyond the passes through the network that it must make.

    python benchmarks/projection_speed.py

Writes projection_speed.json beside itself. For each of the four models: processor time of the
passes forward and back that a projection of a batch needs (reconstruction, loss, gradient in input
space, no step), over that of the projection itself. The two take turns in one process and the
ratio is the median over the rounds of the ratio within a round, so that other load slows both
alike. The last figure is the same with images that finish one by one: what freezing them saves.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from methods.energy_projection.descent import Descent, project
from methods.energy_projection.model import KINDS, VARIATIONAL, EnergyModel
from methods.networks.bergmann import BergmannAutoencoder

TARGET = 0.7


def seconds(task: Callable[[], object]) -> float:
    began = time.process_time()
    task()
    return time.process_time() - began


def measure(kind: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    size = (arguments.size, arguments.size)
    network = BergmannAutoencoder(size, arguments.width, 100, kind in VARIATIONAL)
    model = EnergyModel(kind, network, -2.0).eval().requires_grad_(False)
    images = torch.rand(arguments.batch, 3, *size, generator=torch.Generator().manual_seed(0))

    def evaluate(tiles: Tensor) -> tuple[Tensor, Tensor]:
        reconstruction = model(tiles)
        return model.reconstruction_loss(tiles, reconstruction), reconstruction

    def bare() -> None:
        for _ in range(arguments.iterations):
            at = images.detach().requires_grad_()
            torch.autograd.grad(evaluate(at)[0].sum(), at)

    def walk(update: Any, threshold: float = -math.inf) -> list[Tensor]:
        descent = Descent(update, "plain", 0.01, 0.05, threshold)
        return project(evaluate, images, descent, [arguments.iterations]).images

    (end,) = walk("weighted")
    with torch.no_grad():
        losses = evaluate(end)[0]
    # The middle of where images start and end: most finish on the way, at different times.
    with torch.no_grad():
        halfway = float((evaluate(images)[0].median() + losses.median()) / 2)
    tasks: dict[str, Callable[[], object]] = {
        "bare": bare,
        "standard": lambda: walk("standard"),
        "weighted": lambda: walk("weighted"),
        "weighted_freezing": lambda: walk("weighted", halfway),
    }
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(arguments.rounds + 1):
        for name, task in tasks.items():
            value = seconds(task)
            if turn:  # the first turn warms up
                taken[name].append(value)
    found = {
        name: round(statistics.median(b / t for b, t in zip(taken["bare"], times, strict=True)), 3)
        for name, times in taken.items()
        if name != "bare"
    }
    per = statistics.median(taken["bare"]) / arguments.batch / arguments.iterations
    return {"model": kind, "bare_ms_an_image_and_iteration": round(1e3 * per, 3), **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64, help="image side in pixels")
    parser.add_argument("--width", type=int, default=16, help="channels of the first levels")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = [measure(kind, arguments) for kind in KINDS]
    met = all(min(found["standard"], found["weighted"]) >= TARGET for found in results)
    report = {
        **vars(arguments),
        "threads": 1,
        "load_average": round(os.getloadavg()[0], 1),
        "target": TARGET,
        "met": met,
        "bare_over_projection": results,
    }
    text = json.dumps(report, indent=2)
    Path(__file__).with_suffix(".json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
