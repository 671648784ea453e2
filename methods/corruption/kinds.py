"""The kinds of corruption beside occlusion, as choices of the recipe: drawn, then applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from methods.corruption.blocks import BlocksDraw, draw_blocks, paint_blocks
from methods.corruption.cutdiff import (
    CutDiffDraw,
    CutDiffSettings,
    draw_cutdiff,
    paint_cutdiff,
)
from methods.corruption.paste import PasteDraw, draw_cutpaste, draw_scar, paint_paste
from methods.corruption.perlin import PerlinDraw, draw_perlin, perlin_masks
from methods.corruption.rows import Rows, choose, constant
from methods.corruption.seamless import SeamlessDraw, draw_seamless, paint_seamless


@dataclass(frozen=True)
class KindSettings(CutDiffSettings):
    """Weights of the kinds of corruption; see `methods.corruption.hyperparameters`."""

    occlusion_share: float = 1.0
    cutdiff_share: float = 0.0
    cutpaste_share: float = 0.0
    scar_share: float = 0.0
    perlin_share: float = 0.0
    seamless_share: float = 0.0
    blocks_share: float = 0.0

    def kind_share(self, name: str) -> float:
        return float(getattr(self, f"{name}_share"))


@dataclass(frozen=True)
class Kind:
    """`draw(batch, (H, W), generator, settings)`; then `paint(images, rows)` gives the changed
    images and where they changed, `[B, 1, H, W]` in [0, 1], or `masks(rows, (H, W))` where alone,
    for a texture to fill. `alike` names the synthetic defects that look like it."""

    draw: Callable[..., Any]
    paint: Callable[[Tensor, Any], tuple[Tensor, Tensor]] | None = None
    masks: Callable[[Any, tuple[int, int]], Tensor] | None = None
    alike: frozenset[str] = frozenset()


OCCLUSION = "occlusion"
OTHERS: dict[str, Kind] = {
    "cutdiff": Kind(draw_cutdiff, paint_cutdiff, alike=frozenset({"stain"})),
    "cutpaste": Kind(draw_cutpaste, paint_paste, alike=frozenset({"patch"})),
    "scar": Kind(draw_scar, paint_paste, alike=frozenset({"scar"})),
    "perlin": Kind(draw_perlin, masks=perlin_masks, alike=frozenset({"perlin"})),
    "seamless": Kind(draw_seamless, paint_seamless, alike=frozenset({"patch"})),
    "blocks": Kind(draw_blocks, paint_blocks),
}
ALL = (OCCLUSION, *OTHERS)


@dataclass(frozen=True)
class OtherDraw(Rows):
    """`kind` `[B]` numbers `ALL`; of each other kind a row a sample, None where it has no share."""

    kind: Tensor
    cutdiff: CutDiffDraw | None = None
    cutpaste: PasteDraw | None = None
    scar: PasteDraw | None = None
    perlin: PerlinDraw | None = None
    seamless: SeamlessDraw | None = None
    blocks: BlocksDraw | None = None


def draw_others(
    batch: int, size: tuple[int, int], generator: torch.Generator, settings: KindSettings
) -> OtherDraw | None:
    """Which kind each sample gets, and that kind; None, and no draw, where all are occlusions."""
    used = [name for name in OTHERS if settings.kind_share(name) > 0]
    if not used:
        return None
    share = torch.rand(batch, generator=generator, device=generator.device)
    kind = choose(share, [settings.kind_share(name) for name in ALL])
    rows = {name: OTHERS[name].draw(batch, size, generator, settings) for name in used}
    return OtherDraw(kind, **rows)


Present = list[tuple[Kind, Any, Tensor]]


def present(draw: OtherDraw) -> Present:
    """The kinds that samples have, their draws and the samples."""
    # One look for all kinds: each would wait for a device.
    kinds = draw.kind.tolist()
    found = []
    for field in fields(draw)[1:]:
        rows = getattr(draw, field.name)
        which = [at for at, kind in enumerate(kinds) if ALL[kind] == field.name]
        if rows is not None and which:
            samples = constant(which, draw.kind.device)
            found.append((OTHERS[field.name], rows[samples], samples))
    return found


def textured_masks(draw: OtherDraw, others: Present, occlusions: Tensor) -> Tensor:
    """Where textures go: `occlusions` `[B, 1, H, W]` for those samples, the `others`' own masks."""
    size = (int(occlusions.shape[2]), int(occlusions.shape[3]))
    mask = occlusions * (draw.kind == ALL.index(OCCLUSION))[:, None, None, None]
    for kind, rows, which in others:
        if kind.masks is not None:
            mask[which] = kind.masks(rows, size).to(mask.dtype)
    return mask


def paint_others(others: Present, opacity: Tensor, images: Tensor, mask: Tensor) -> None:
    """Change, in place, images and masks of the samples whose kind paints."""
    for kind, rows, which in others:
        if kind.paint is not None:
            changed, support = kind.paint(images[which], rows)
            seen = opacity[which, None, None, None]
            images[which] = torch.lerp(images[which], changed, seen)
            mask[which] = (seen * support).to(mask.dtype)
