"""A box with hard edges, for the augmentations that have no gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from methods.augmentation.contract import Draw, Size
from methods.augmentation.sampling import pixel_grid
from methods.hyperparameter import Hyperparameter

BOX = (
    Hyperparameter(
        "log_area",
        math.log(0.05),
        "logarithm of the box's share of the image's area",
        low=math.log(1e-4),
        high=0.0,
        source="CutPaste (Li et al., 2021)",
    ),
    Hyperparameter(
        "log_aspect",
        0.0,
        "logarithm of height over width",
        low=-3.0,
        high=3.0,
        source="CutPaste (Li et al., 2021)",
    ),
)
BOX_RANGES: Mapping[str, tuple[float, float]] = {
    "log_area": (math.log(0.02), math.log(0.15)),
    "log_aspect": (math.log(0.3), math.log(3.3)),
}


def draw_corner(name: str, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Where in its free play a box lies: `[B, 2]` in [0, 1)."""
    return {name: torch.rand(batch, 2, generator=generator, device=generator.device)}


def box_sides(parameters: Mapping[str, Tensor], size: Size) -> tuple[int, int]:
    """Height and width in whole pixels, at least one and at most the image."""
    area = math.exp(float(parameters["log_area"])) * size[0] * size[1]
    root_aspect = math.exp(float(parameters["log_aspect"]) / 2)
    height = round(math.sqrt(area) * root_aspect)
    width = round(math.sqrt(area) / root_aspect)
    return min(max(height, 1), size[0]), min(max(width, 1), size[1])


def corners(draw: Draw, name: str, sides: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Top row and left column of a box that lies wholly in the image, `[B, 1, 1]` each."""
    free = (draw.size[0] - sides[0] + 1, draw.size[1] - sides[1] + 1)
    play = draw[name].new_tensor(free)
    corner = (draw[name] * play).long().minimum(play.long() - 1)[:, :, None, None]
    return corner[:, 0], corner[:, 1]


def inside(draw: Draw, name: str, sides: tuple[int, int]) -> Tensor:
    """`[B, 1, H, W]`, true in the box."""
    top, left = corners(draw, name, sides)
    rows, columns = pixel_grid(draw.size, top)
    vertical = (rows >= top) & (rows < top + sides[0])
    horizontal = (columns >= left) & (columns < left + sides[1])
    return (vertical & horizontal)[:, None]
