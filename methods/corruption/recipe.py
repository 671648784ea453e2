"""The corruption recipe: draw everything random about a batch, then apply it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from methods.corruption.kinds import (
    ALL,
    OCCLUSION,
    OTHERS,
    KindSettings,
    OtherDraw,
    draw_others,
    paint_others,
    present,
    textured_masks,
)
from methods.corruption.masks import KINDS, MaskDraw, MaskSettings, draw_masks, masks
from methods.corruption.rows import Rows
from methods.corruption.textures import (
    TextureBank,
    TextureDraw,
    TextureSettings,
    draw_textures,
    textures_at,
)


@dataclass(frozen=True)
class CorruptionDraw(Rows):
    """Regions, filling and `opacity` `[B]` (0 where a sample stays clean) of a batch; `other` where
    some samples may be something else than an occlusion.

    `draw[part]` is the draw of those samples alone: applied to them it gives what the whole draw
    gives to the whole batch there.
    """

    regions: MaskDraw
    filling: TextureDraw
    opacity: Tensor
    other: OtherDraw | None = None


@dataclass(frozen=True)
class CorruptionRecipe(KindSettings, MaskSettings, TextureSettings):
    """Partial occlusion by foreign textures under smooth masks (Bauer et al., PAE, section 2.1),
    and other kinds of corruption where they are given a weight (`methods.corruption.kinds`).

    Varying opacity down to 0 is what makes a trained network contract towards normal images, and
    opacity 1 what makes it fill in (PAE, supplement). The papers publish these properties but no
    numbers; the sampler's numbers are our own. Its fields are declared as hyperparameters in
    `methods.corruption.hyperparameters`.
    """

    opaque_share: float = 0.5
    clean_share: float = 0.1

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Take this recipe's own fields out of a method's hyperparameters."""
        return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})

    def families(self) -> frozenset[str]:
        """Names of the kinds of region and of corruption that this recipe draws, and of the
        synthetic defects that look like them."""
        others = [name for name in OTHERS if self.kind_share(name) > 0]
        names = frozenset(others).union(*(OTHERS[name].alike for name in others))
        if self.kind_share(OCCLUSION) > 0:
            names |= {k for k, share in zip(KINDS, self.shares(), strict=True) if share > 0}
        return names

    def check(self) -> None:
        """Raise ValueError where all shares of a choice are zero."""
        if sum(self.kind_share(name) for name in ALL) <= 0:
            names = ", ".join(f"{name}_share" for name in ALL)
            raise ValueError(f"{names} are all 0; one must be above 0")
        if sum(self.shares()) <= 0:
            raise ValueError(
                "blob_share, stroke_share and dots_share are all 0; one must be above 0"
            )
        if sum(self.source_shares(True)) <= 0 or sum(self.source_shares(False)) <= 0:
            raise ValueError("all texture shares are 0; one must be above 0")

    def draw(
        self, batch: int, size: tuple[int, int], generator: torch.Generator, pool: bool = False
    ) -> CorruptionDraw:
        """Draw for `batch` images of `size` (height, width) on the generator's device.

        `pool` says whether the bank of textures will hold foreign images. A sample is clean with
        probability `clean_share`, else opaque with `opaque_share`, else of opacity U(0, 1).
        """
        regions = draw_masks(batch, size, generator, self)
        filling = draw_textures(batch, generator, self, pool)
        share = torch.rand(3, batch, generator=generator, device=generator.device)
        opacity = torch.where(share[0] < self.opaque_share, 1.0, share[1])
        opacity = torch.where(share[2] < self.clean_share, 0.0, opacity)
        return CorruptionDraw(regions, filling, opacity, draw_others(batch, size, generator, self))


def apply(images: Tensor, draw: CorruptionDraw, bank: TextureBank) -> tuple[Tensor, Tensor]:
    """Corrupt float images `[B, 3, H, W]` in [0, 1]: the result and its mask `[B, 1, H, W]`.

    The mask M carries the opacity and the result is M y + (1 - M) x (PAE, section 2.1). Depends
    on its arguments alone.
    """
    if len(images) != len(draw):
        raise ValueError(f"{len(images)} images were given for a draw of {len(draw)}")
    size = (int(images.shape[2]), int(images.shape[3]))
    mask = masks(draw.regions, size)
    others = [] if draw.other is None else present(draw.other)
    if draw.other is not None:
        mask = textured_masks(draw.other, others, mask)
    mask.mul_(draw.opacity[:, None, None, None])
    sample, y, x = torch.nonzero(mask[:, 0] > 0, as_tuple=True)
    where = (sample, y, x)
    values = textures_at(draw.filling, bank, size, where)
    result = images.clone()
    pixels = result.permute(0, 2, 3, 1)
    pixels[where] = torch.lerp(pixels[where], values, mask[sample, 0, y, x, None])
    paint_others(others, draw.opacity, result, mask)
    return result, mask
