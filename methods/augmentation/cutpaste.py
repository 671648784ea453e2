"""CutPaste and its scar: a piece of the image pasted elsewhere. Not differentiable."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from methods.augmentation import box, patch
from methods.augmentation.contract import Augmentation, Draw, Size
from methods.augmentation.sampling import gather_pixels, pixel_grid
from methods.hyperparameter import Hyperparameter

_PAPER = "CutPaste (Li et al., 2021)"
_GREY = (0.299, 0.587, 0.114)
SCAR_TURN = math.pi / 4

_JITTER = Hyperparameter(
    "jitter",
    0.1,
    "greatest relative change of the piece's brightness, contrast and saturation",
    low=0.0,
    high=0.5,
    source=_PAPER,
)


def _signed(batch: int, columns: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(batch, columns, generator=generator, device=generator.device) - 1


def _jittered(images: Tensor, strength: Tensor, drawn: Tensor) -> Tensor:
    """Brightness, contrast and saturation times 1 + strength * drawn, `[B, 3]` in [-1, 1]."""
    factors = (1 + strength * drawn)[:, :, None, None, None]
    grey = images.new_tensor(_GREY).view(1, 3, 1, 1)
    images = (images * factors[:, 0]).clamp(0.0, 1.0)
    middle = (images * grey).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    images = (middle + (images - middle) * factors[:, 1]).clamp(0.0, 1.0)
    luminance = (images * grey).sum(1, keepdim=True)
    return (luminance + (images - luminance) * factors[:, 2]).clamp(0.0, 1.0)


def _draw_boxes(batch: int, size: Size, generator: torch.Generator) -> dict[str, Tensor]:
    return {
        **box.draw_corner("source", batch, generator),
        **box.draw_corner("corner", batch, generator),
        "colour": _signed(batch, 3, generator),
    }


def _paste(images: Tensor, parameters: Mapping[str, Tensor], draw: Draw) -> Tensor:
    sides = box.box_sides(parameters, draw.size)
    top, left = box.corners(draw, "corner", sides)
    source_top, source_left = box.corners(draw, "source", sides)
    rows, columns = pixel_grid(draw.size, top)
    height, width = draw.size
    # Outside the box the source may lie beyond the image, but nothing is taken from there.
    rows = (rows - top + source_top).clamp(0, height - 1).expand(-1, height, width)
    columns = (columns - left + source_left).clamp(0, width - 1).expand(-1, height, width)
    piece = _jittered(gather_pixels(images, rows, columns), parameters["jitter"], draw["colour"])
    return torch.where(box.inside(draw, "corner", sides), piece, images)


def _draw_scar(batch: int, size: Size, generator: torch.Generator) -> dict[str, Tensor]:
    return {
        **patch.draw_centres(batch, size, generator),
        "source": torch.rand(batch, 2, generator=generator, device=generator.device),
        "turn": _signed(batch, 1, generator)[:, 0],
        "colour": _signed(batch, 3, generator),
    }


def strip(
    images: Tensor,
    draw: Draw,
    *,
    half_length: Tensor,
    half_width: Tensor,
    angle: Tensor,
    jitter: Tensor,
) -> tuple[Tensor, Tensor]:
    """A recoloured strip of each image moved elsewhere in it, and where: `[B, 1, H, W]`, bool.

    The strip lies `half_length` (along `angle`, from down towards right) and `half_width` (across)
    around the drawn centre; both are shares of the root of the image's area, and like the angle
    scalars or `[B, 1, 1]`. Its pixels come from around the drawn `source`; beyond the image the
    border is repeated.
    """
    height, width = draw.size
    unit = patch.unit_length(draw.size)
    along, across = patch.turned(*patch.offsets(draw), angle)
    mask = ((along.abs() <= half_length) & (across.abs() <= half_width))[:, None]
    source = draw["source"][:, :, None, None] * draw["source"].new_tensor([height, width]).view(
        1, 2, 1, 1
    )
    rows = (source[:, 0] + along * unit).floor().long().clamp(0, height - 1)
    columns = (source[:, 1] + across * unit).floor().long().clamp(0, width - 1)
    return _jittered(gather_pixels(images, rows, columns), jitter, draw["colour"]), mask


def _scar(images: Tensor, parameters: Mapping[str, Tensor], draw: Draw) -> Tensor:
    half_length, half_width = (
        (torch.exp(parameters[name]) / 2).clamp(min=patch.narrowest(draw.size))
        for name in ("log_length", "log_width")
    )
    angle = SCAR_TURN * draw["turn"][:, None, None]
    piece, mask = strip(
        images,
        draw,
        half_length=half_length,
        half_width=half_width,
        angle=angle,
        jitter=parameters["jitter"],
    )
    return torch.where(mask, piece, images)


CUTPASTE = Augmentation(
    name="cutpaste",
    title="CutPaste: a box of the image pasted elsewhere in it",
    source=_PAPER,
    hyperparameters=(*box.BOX, _JITTER),
    differentiable=False,
    draw_rows=_draw_boxes,
    transform=_paste,
    ranges={**box.BOX_RANGES, "jitter": (0.0, 0.1)},
)

CUTPASTE_SCAR = Augmentation(
    name="cutpaste-scar",
    title="CutPaste scar: a thin turned strip of the image pasted elsewhere in it",
    source=_PAPER,
    hyperparameters=(
        Hyperparameter(
            "log_width",
            math.log(9 / 256),
            "logarithm of the strip's width as a share of the root of the image's area",
            low=math.log(1 / 512),
            high=math.log(0.5),
            source=_PAPER + ": 2 to 16 of 256 pixels",
        ),
        Hyperparameter(
            "log_length",
            math.log(18 / 256),
            "logarithm of the strip's length as a share of the root of the image's area",
            low=math.log(1 / 512),
            high=0.0,
            source=_PAPER + ": 10 to 25 of 256 pixels",
        ),
        _JITTER,
    ),
    differentiable=False,
    draw_rows=_draw_scar,
    transform=_scar,
    ranges={
        "log_width": (math.log(2 / 256), math.log(16 / 256)),
        "log_length": (math.log(10 / 256), math.log(25 / 256)),
        "jitter": (0.0, 0.1),
    },
)
