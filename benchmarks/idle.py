"""A method that learns nothing and only waits, for benchmarks of whatever stands around trials.

It draws as many hyperparameters as a filtering autoencoder and has as many scoring settings, so
that sampler, ledger and records are of the usual size. Registered as any method of a contributor
is; Ray's workers import this file by a set-up hook (see `variables`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from methods.contract import Context, Progress, Scoring, TrialData, unit
from methods.hyperparameter import Hyperparameter, Value, complete
from methods.registry import register_method

if TYPE_CHECKING:
    from tuner.job import Job
    from tuner.voice import Voice

HERE = Path(__file__).parent
SPACE = HERE / "idle.yaml"


def hook() -> None:
    """Nothing: that a worker imports this file registers the method there."""


def variables() -> dict[str, str]:
    """The environment of a driver, and of nodes that it has not started itself."""
    places = [str(HERE), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(places),
        # What Ray's own runtime_env={"worker_process_setup_hook": ...} becomes in a worker; here it
        # is inherited, so that whoever starts Ray need not know.
        "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR": "idle.hook",
        # Workers stand back behind everything else otherwise, and wait for the driver.
        "RAY_worker_niceness": "0",
        "RAY_AUTH_MODE": "disabled",
    }


def prepare(root: Path, voice: Voice, **asked: Any) -> Job:
    """A study of waiting trials below a folder, ready to run."""
    from tuner.job import Job
    from tuner.study.config import StudyConfig
    from tuner.study.home import Home

    data = write_images(root / "part")
    values = {
        "name": "idle", "category": "part", "data": str(data), "methods": ("idle",),
        "space": str(SPACE), "size": (32, 32), "export": False, **asked,
    }  # fmt: skip
    return Job.prepare(StudyConfig.model_validate(values), Home(root / "home"), voice)


class IdleDetector:
    """Scores by the distance from the mean training image, tilted towards brightness by `mix`."""

    def __init__(self, mean: Tensor, mix: float) -> None:
        self.mean, self.mix = mean, mix

    def embed(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def scores(self, images: Tensor, scoring: Scoring) -> Tensor:
        distance = (images - self.mean).square().mean((1, 2, 3))
        return (1 - self.mix) * distance + self.mix * images.mean((1, 2, 3))

    def grid_scores(self, images: Tensor, grid: Sequence[Scoring]) -> Tensor:
        return self.scores(images, {}).expand(len(grid), -1)

    def weights(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "mix": torch.tensor(self.mix)}


def _drawn(number: int) -> Hyperparameter:
    return Hyperparameter(f"drawn_{number}", 0.5, "changes next to nothing", low=0.0, high=1.0)


def _scoring(name: str, count: int) -> Hyperparameter:
    choices = tuple(f"{name} {number}" for number in range(count))
    return Hyperparameter(name, choices[0], "changes nothing", choices=choices, tier="scoring")


@register_method("idle")
class Idle:
    name = "idle"
    title, paper = "Waiting", "none"
    hyperparameters = (
        Hyperparameter("steps", 100, "how often it waits", low=1, high=1_000_000),
        Hyperparameter("pause", 0.0, "how long it waits each time", low=0.0, high=60.0, unit="s"),
        *(_drawn(number) for number in range(13)),
        _scoring("first", 3), _scoring("second", 5), _scoring("third", 5),
    )  # fmt: skip

    def check(self, data: TrialData, hyperparameters: Mapping[str, Value]) -> None:
        complete(self.hyperparameters, hyperparameters)

    def fit(
        self, data: TrialData, hyperparameters: Mapping[str, Value], context: Context
    ) -> Iterator[Progress]:
        values = complete(self.hyperparameters, hyperparameters)
        mean = unit(data.train).mean(0, keepdim=True)
        detector = IdleDetector(mean, float(values["drawn_0"]))
        first = int(context.resume["rung"]) if context.resume else 0
        pause = float(values["pause"]) * int(values["steps"]) / context.rungs
        for rung in range(first + 1, context.rungs + 1):
            time.sleep(pause)
            yield Progress(rung, 1.0, detector, state=lambda rung=rung: {"rung": rung})

    def restore(
        self, hyperparameters: Mapping[str, Value], weights: Mapping[str, Tensor]
    ) -> IdleDetector:
        return IdleDetector(weights["mean"], float(weights["mix"]))

    def corrupt(
        self,
        data: TrialData,
        hyperparameters: Mapping[str, Value],
        count: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        clean = unit(data.train[:count])
        return clean, (clean + 0.1 * torch.rand(clean.shape, generator=generator)).clamp(0, 1)

    def families(self, hyperparameters: Mapping[str, Value]) -> frozenset[str]:
        return frozenset()


def write_images(folder: Path, count: int = 16, side: int = 32) -> Path:
    """Images of noise in the plain layout, the unlabelled ones with a blot in every second."""
    rng = np.random.default_rng(0)
    for part in ("normal", "unlabelled"):
        (folder / part).mkdir(parents=True)
        for index in range(count):
            picture: Any = rng.normal(128, 20, (side, side, 3))
            if part == "unlabelled" and index % 2:
                picture[4:12, 4:12] -= 60
            path = folder / part / f"{index:03d}.png"
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(path)
    return folder
