"""CutPaste and its scar as corruptions: every sample with a piece of its own size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.augmentation import patch
from methods.augmentation.box import BOX_RANGES
from methods.augmentation.contract import Draw
from methods.augmentation.cutpaste import CUTPASTE_SCAR, SCAR_TURN, strip
from methods.corruption.rows import Rows, between

_JITTER = 0.1  # CutPaste (Li et al., 2021), colour jitter


@dataclass(frozen=True)
class PasteDraw(Rows):
    """One piece a sample.

    `half` `[B, 2]`: its half-length and half-width in roots of the image's area; `angle` `[B]`;
    `centre` and `source` `[B, 2]`: row and column in [0, 1]; `colour` `[B, 3]` in [-1, 1].
    """

    half: Tensor
    angle: Tensor
    centre: Tensor
    source: Tensor
    colour: Tensor


def draw_cutpaste(
    batch: int, size: tuple[int, int], generator: torch.Generator, settings: object = None
) -> PasteDraw:
    """Upright boxes inside the image, of 2 to 15 % of its area and aspects from 0.3 to 3.3.

    Logarithms of area and aspect are uniform (CutPaste, Li et al., 2021; the law is ours).
    """
    share = torch.rand(6, batch, generator=generator, device=generator.device)
    area = between(share[0], *BOX_RANGES["log_area"])
    aspect = between(share[1], *BOX_RANGES["log_aspect"])
    half = 0.5 * torch.stack([(area + aspect) / 2, (area - aspect) / 2], dim=1).exp()
    # a box longer than the image would have no place in it
    reach = (half * patch.unit_length(size)) / half.new_tensor(size)
    half, reach = half * (0.5 / reach).clamp(max=1.0), reach.clamp(max=0.5)
    centre, source = (reach + (1 - 2 * reach) * share[i : i + 2].T for i in (2, 4))
    return PasteDraw(half, torch.zeros_like(area), centre, source, _colour(batch, generator))


def draw_scar(
    batch: int, size: tuple[int, int], generator: torch.Generator, settings: object = None
) -> PasteDraw:
    """Strips of 2 to 16 by 10 to 25 pixels of 256, turned by up to 45 degrees (CutPaste)."""
    share = torch.rand(7, batch, generator=generator, device=generator.device)
    half = torch.stack(
        [
            between(share[i], *CUTPASTE_SCAR.ranges[name])
            for i, name in enumerate(("log_length", "log_width"))
        ],
        dim=1,
    )
    half = (0.5 * half.exp()).clamp(min=patch.narrowest(size))
    angle = SCAR_TURN * (2 * share[2] - 1)
    return PasteDraw(half, angle, share[3:5].T, share[5:7].T, _colour(batch, generator))


def paint_paste(images: Tensor, draw: PasteDraw) -> tuple[Tensor, Tensor]:
    """Images `[B, 3, H, W]` with the piece pasted, and where: `[B, 1, H, W]`, 0 or 1."""
    size = (int(images.shape[2]), int(images.shape[3]))
    place = {"centre": draw.centre, "source": draw.source, "colour": draw.colour}
    length, width = draw.half[:, :, None, None].unbind(dim=1)
    piece, mask = strip(
        images,
        Draw(size, place),
        half_length=length,
        half_width=width,
        angle=draw.angle[:, None, None],
        jitter=images.new_tensor(_JITTER),
    )
    return torch.where(mask, piece, images), mask.to(images.dtype)


def _colour(batch: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(batch, 3, generator=generator, device=generator.device) - 1
