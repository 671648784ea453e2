"""A texture blend: CutPaste made differentiable by a soft edge."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from methods.augmentation import patch
from methods.augmentation.contract import Augmentation, Draw, Size
from methods.augmentation.sampling import gather_pixels, pixel_grid
from methods.hyperparameter import Hyperparameter


def _draw(batch: int, size: Size, generator: torch.Generator) -> dict[str, Tensor]:
    rows = patch.draw_centres(batch, size, generator)
    device = generator.device
    shift = torch.rand(batch, 2, generator=generator, device=device)
    flip = torch.rand(batch, 2, generator=generator, device=device) < 0.5
    tint = 2 * torch.rand(batch, 3, generator=generator, device=device) - 1
    return {**rows, "shift": shift, "flip": flip, "tint": tint}


def _elsewhere(images: Tensor, draw: Draw) -> Tensor:
    """The image itself, mirrored or not and moved round, so that there is texture everywhere."""
    rows, columns = pixel_grid(draw.size, images)
    height, width = draw.size
    flip = draw["flip"][:, :, None, None]
    rows = torch.where(flip[:, 0], height - 1 - rows, rows)
    columns = torch.where(flip[:, 1], width - 1 - columns, columns)
    extent = draw["shift"].new_tensor([height, width])
    shift = (draw["shift"] * extent).long()[:, :, None, None]
    return gather_pixels(
        images,
        ((rows + shift[:, 0]) % height).expand(-1, height, width),
        ((columns + shift[:, 1]) % width).expand(-1, height, width),
    )


def _blend(images: Tensor, parameters: Mapping[str, Tensor], draw: Draw) -> Tensor:
    tint = parameters["jitter"] * draw["tint"][:, :, None, None]
    texture = (_elsewhere(images, draw) + tint).clamp(0.0, 1.0)
    mask = parameters["opacity"] * patch.shaped_patch(parameters, draw)
    return images + mask * (texture - images)


BLEND = Augmentation(
    name="texture-blend",
    title="a smooth patch of the same image's texture from elsewhere, with a change of colour",
    source="ours, after ST-SSAD, Algorithm 2 and CutPaste (Li et al., 2021)",
    hyperparameters=(
        *patch.SHAPE,
        Hyperparameter(
            "opacity",
            0.9,
            "weight of the texture in the middle of the patch",
            low=0.0,
            high=1.0,
            symbol="beta",
        ),
        Hyperparameter(
            "jitter",
            0.1,
            "greatest change of a channel of the texture",
            low=0.0,
            high=1.0,
            source="CutPaste (Li et al., 2021), colour jitter",
        ),
    ),
    differentiable=True,
    draw_rows=_draw,
    transform=_blend,
    ranges={**patch.SHAPE_RANGES, "opacity": (0.2, 1.0), "jitter": (0.0, 0.3)},
    starts=patch.SIZE_STARTS[1:],
    periods=patch.SHAPE_PERIODS,
    resolve=patch.resolve_shape,
    unresolved=patch.UNRESOLVED,
)
