"""A set of images with one synthetic defect each, on held-out normals and on the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from methods.contract import unit
from methods.criteria.appearance import WIDTH, Appearance
from methods.criteria.defects.cells import cells
from methods.criteria.defects.geometry import Size, uniform
from methods.criteria.defects.paste import apply_paste, draw_patch, draw_scar
from methods.criteria.defects.perlin import apply_perlin, draw_perlin
from methods.criteria.defects.stain import apply_stain, draw_stain
from methods.criteria.defects.warp import apply_warp, draw_warp

# A defect that changes no pixel by as many grey levels is none; it happens on blank surfaces.
_VISIBLE_LEVELS = 4
# More normal images than these teach the fixed embedding little.
_MOST_NORMALS = 256


@dataclass(frozen=True)
class Family:
    """A kind of defect: `draw(count, (H, W), generator)` and `apply(images, sources, drawn)`.

    Images and sources are float `[B, 3, H, W]` in [0, 1]; the same draw gives the same defect.
    """

    name: str
    draw: Callable[[int, Size, torch.Generator], Any]
    apply: Callable[[Tensor, Tensor, Any], Tensor]


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("patch", draw_patch, apply_paste),
        Family("scar", draw_scar, apply_paste),
        Family("stain", draw_stain, apply_stain),
        Family("perlin", draw_perlin, apply_perlin),
        Family("warp", draw_warp, apply_warp),
    )
}


@dataclass(frozen=True)
class SyntheticSet:
    """Q images with one defect each and where they come from.

    `images` uint8 `[Q, 3, H, W]`; `on_test` bool `[Q]`: made from the unlabelled batch, else from
    the held-out normals; `base` `[Q]`: index of the image it was made from; `family` `[Q]`: index
    into `families`; `cell` `[Q]`: number of the finer family of its kind, size and contrast.
    `appearance` `[Q, E]`, `test_appearance` `[M, E]` and `normal_appearance` `[N, E]` are the fixed
    embedding (`methods.criteria.appearance`) of these images, of the batch and of normals.
    `reference` `[Q]` and `test_reference` `[M]` are scores of a reference detector that no trial
    trains, where there is one.
    """

    images: Tensor
    on_test: Tensor
    base: Tensor
    family: Tensor
    cell: Tensor
    appearance: Tensor
    test_appearance: Tensor
    normal_appearance: Tensor
    families: tuple[str, ...]
    reference: Tensor | None = None
    test_reference: Tensor | None = None


def build_synthetic(
    held_out: Tensor,
    test: Tensor,
    generator: torch.Generator,
    *,
    per_base: int = 4,
    limit: int = 128,
    exclude: frozenset[str] = frozenset(),
    normals: Tensor | None = None,
    embedded: bool = True,
) -> SyntheticSet:
    """Paste defects on held-out normals `[V, 3, H, W]` and on the batch `[M, 3, H, W]`, uint8.

    Half of at most `limit` images from either, each base used at most `per_base` times, the
    families not in `exclude` in turn. Pasted texture comes from the base itself or from a held-out
    normal. Defects too faint to see are left out, so there may be a few less. The same generator
    state gives the same set. `normals` `[N, 3, H, W]` are more normal images (those for training)
    for the fixed embedding to learn from; of these and the held-out ones it takes 256 at most.
    Where nobody looks at that embedding, `embedded` False leaves it out: its rows are none.

    Raises ValueError where every family is excluded or the numbers are not positive.
    """
    names = tuple(name for name in FAMILIES if name not in exclude)
    if not names:
        raise ValueError(f"all defect families are excluded; keep one of: {', '.join(FAMILIES)}")
    if per_base < 1 or limit < 2:
        raise ValueError(
            f"per_base is {per_base} and limit {limit}, but they must be at least 1 and 2"
        )
    room = len(held_out) * per_base
    on_test_count = min(len(test) * per_base, max(limit // 2, limit - room))
    counts = (min(room, limit - on_test_count), on_test_count)
    parts = [
        _deface(bases, held_out, count, names, generator)
        for bases, count in zip((held_out, test), counts, strict=True)
    ]
    on_test = torch.cat([torch.full((len(p[1]),), i == 1) for i, p in enumerate(parts)])
    on_test = on_test.to(test.device)
    images, base, family = (torch.cat(column) for column in zip(*parts, strict=True))
    clean = torch.cat((held_out[base[~on_test]], test[base[on_test]]))
    rows = (torch.empty(0, WIDTH),) * 3
    if embedded:
        known = unit(_evenly(held_out if normals is None else torch.cat((normals, held_out))))
        look = Appearance.of(known)
        rows = (look.embed(unit(images)), look.embed(unit(test)), look.embed(known))
    return SyntheticSet(
        images=images,
        on_test=on_test,
        base=base,
        family=family,
        cell=cells(images, clean, family),
        appearance=rows[0],
        test_appearance=rows[1],
        normal_appearance=rows[2],
        families=names,
    )


def _evenly(images: Tensor) -> Tensor:
    """At most `_MOST_NORMALS` of them."""
    count = min(_MOST_NORMALS, len(images))
    return images[torch.linspace(0, len(images) - 1, count).long()]


def _laps(length: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` indices below `length`, each as often as any other, in random order."""
    laps = [
        torch.randperm(length, generator=generator, device=generator.device)
        for _ in range(-(-count // length))
    ]
    return torch.cat(laps)[:count] if laps else torch.zeros(0, dtype=torch.long)


def _deface(
    bases: Tensor,
    held_out: Tensor,
    count: int,
    names: tuple[str, ...],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Images, base indices and family indices of the visible ones of `count` defects."""
    device = bases.device
    base = _laps(len(bases), count, generator).to(device)
    family = torch.arange(count, device=device) % len(names)
    foreign = _laps(len(held_out), count, generator).to(device)
    own = (uniform(generator, (count,), 0, 1) < 0.5).to(device)
    size = (int(bases.shape[2]), int(bases.shape[3]))
    clean = bases[base]
    images = clean.clone()
    for number, name in enumerate(names):
        chosen = (family == number).nonzero()[:, 0]
        drawn = FAMILIES[name].draw(len(chosen), size, generator)
        drawn = type(drawn)(**{key: value.to(device) for key, value in vars(drawn).items()})
        targets = unit(clean[chosen])
        sources = torch.where(
            own[chosen, None, None, None], targets, unit(held_out[foreign[chosen]])
        )
        defaced = FAMILIES[name].apply(targets, sources, drawn)
        images[chosen] = (defaced * 255).round().to(torch.uint8)
    change = (images.short() - clean.short()).abs().flatten(1).amax(1)
    visible = change >= _VISIBLE_LEVELS
    return images[visible], base[visible], family[visible]
