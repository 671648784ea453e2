"""Finer families of defects: each kind small or large, faint or strong."""

from __future__ import annotations

from torch import Tensor

PER_KIND = 4
# Grey levels from which on a pixel counts as changed.
_CHANGED_LEVELS = 2


def extent(images: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Share of pixels that a defect changes, and by how many grey levels on average: two `[Q]`.

    `images` and the `clean` ones that they were made from are uint8 `[Q, 3, H, W]`; a pixel's
    change is that of the channel that changes most.
    """
    change = (images.short() - clean.short()).abs().amax(1).flatten(1).float()
    changed = change >= _CHANGED_LEVELS
    count = changed.sum(1)
    return count / change.shape[1], (change * changed).sum(1) / count.clamp(min=1)


def cells(images: Tensor, clean: Tensor, family: Tensor) -> Tensor:
    """`4 kind + 2 large + strong` for each of Q defects, `family` `[Q]` being their kinds.

    Large and strong are those above the median of their kind, as measured: a kind's draws say how
    it was asked for, not how it came out on this surface.
    """
    area, contrast = extent(images, clean)
    numbers = PER_KIND * family
    for kind in family.unique():
        own = family == kind
        large = area[own] > area[own].median()
        strong = contrast[own] > contrast[own].median()
        numbers[own] += 2 * large.to(numbers.dtype) + strong.to(numbers.dtype)
    return numbers
