"""Rotation of the whole image by one learned angle."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from methods.augmentation.contract import Augmentation, Draw, Size
from methods.hyperparameter import Hyperparameter


def _draw_nothing(batch: int, size: Size, generator: torch.Generator) -> dict[str, Tensor]:
    return {"none": torch.zeros(batch, 0, device=generator.device)}


def _rotate(images: Tensor, parameters: Mapping[str, Tensor], draw: Draw) -> Tensor:
    # kornia takes seconds to import, and most trials turn nothing.
    from kornia.geometry.transform import rotate

    turned: Tensor = rotate(images, torch.rad2deg(parameters["angle"]).view(1))
    return turned


ROTATION = Augmentation(
    name="rotation",
    title="rotation of the whole image by one angle, black where nothing is",
    source="ST-SSAD, section 3.2.2; Jaderberg et al., 2015",
    hyperparameters=(
        Hyperparameter(
            "angle",
            math.pi / 4,
            "angle of every image, anticlockwise",
            low=-2 * math.pi,
            high=2 * math.pi,
            unit="rad",
            symbol="a",
            source="ST-SSAD, section 3.2.2",
        ),
    ),
    differentiable=True,
    draw_rows=_draw_nothing,
    transform=_rotate,
    ranges={"angle": (0.0, 2 * math.pi)},
    starts=tuple({"angle": math.radians(degrees)} for degrees in (45, 135, 225, 315)),
    periods={"angle": 2 * math.pi},
)
