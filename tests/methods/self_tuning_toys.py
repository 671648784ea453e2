"""A tiny self-tuned training."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from methods.augmentation import get_augmentation
from methods.contract import Context, Progress, TrialData, unit
from methods.hyperparameter import complete
from methods.registry import get_method
from methods.self_tuning.loop import SelfTuning
from tests.methods.stripes import generator, waves

METHOD = get_method("st-ssad")
SIZE = (16, 16)
TINY = {
    "width": 4,
    "stem": "large",
    "batch_size": 4,
    "steps": 8,
    "warm_share": 0.25,
    "initial_size": 0.05,
    "initial_ratio": 1.2,
    "initial_angle": 0.3,
}


def blotted(images: Tensor, size: float, seed: int = 5) -> Tensor:
    """The images with the patch of CutDiff in them."""
    augmentation = get_augmentation("cutdiff")
    vector = augmentation.vector({"log_size": math.log(size)})
    draw = augmentation.draw(len(images), tuple(images.shape[2:]), generator(seed))  # type: ignore[arg-type]
    return (255 * augmentation.apply(unit(images), vector, draw)).round().to(torch.uint8)


def striped(size: float = 0.1) -> TrialData:
    """Stripes, and among the unlabelled ones as many with a blot."""
    test = torch.cat((waves(5, 2), blotted(waves(5, 3), size)))
    return TrialData(waves(12, 0), waves(4, 1), test)


def run(data: TrialData, context: Context | None = None, **values: Any) -> list[Progress]:
    return list(METHOD.fit(data, {**TINY, **values}, context or Context(rungs=2)))


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def tuning(data: TrialData, context: Context | None = None, **values: Any) -> SelfTuning:
    full = complete(METHOD.hyperparameters, {**TINY, **values})
    return SelfTuning(data, full, context or Context())
