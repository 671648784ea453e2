"""CutOut: a black box. Not differentiable; for the random controls."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from methods.augmentation import box
from methods.augmentation.contract import Augmentation, Draw, Size


def _draw(batch: int, size: Size, generator: torch.Generator) -> dict[str, Tensor]:
    return box.draw_corner("corner", batch, generator)


def _cut(images: Tensor, parameters: Mapping[str, Tensor], draw: Draw) -> Tensor:
    sides = box.box_sides(parameters, draw.size)
    return images.masked_fill(box.inside(draw, "corner", sides), 0.0)


CUTOUT = Augmentation(
    name="cutout",
    title="CutOut: a black box wholly inside the image",
    source="DeVries and Taylor, 2017; as a baseline in ST-SSAD, section 4",
    hyperparameters=box.BOX,
    differentiable=False,
    draw_rows=_draw,
    transform=_cut,
    ranges=box.BOX_RANGES,
)
