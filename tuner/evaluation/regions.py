"""Defect regions of masks, kept as lists of pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Regions:
    """The defect pixels of M images of one size.

    `pixels[i]` are flat indices into image i and `shares[i]` what each of them is worth in the
    overlap of its region: one over the region's area. `count` is the number of regions.
    """

    size: tuple[int, int]
    pixels: tuple[Array, ...]
    shares: tuple[Array, ...]
    count: int

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def all_pixels(self) -> int:
        return len(self) * self.size[0] * self.size[1]

    @property
    def defect_pixels(self) -> int:
        return sum(len(p) for p in self.pixels)


def find_regions(masks: Iterable[Array]) -> Regions:
    """8-connected components of bool masks `[H, W]`. Raises ValueError for mixed sizes."""
    from scipy import ndimage

    pixels, shares, count, size = [], [], 0, None
    for mask in (np.asarray(mask, dtype=bool) for mask in masks):
        if mask.ndim != 2 or (size is not None and mask.shape != size):
            raise ValueError(f"mask is {list(mask.shape)}, but must be {list(size or 'HW')}")
        size = mask.shape
        flat = np.flatnonzero(mask)
        if len(flat):
            # Only the box around the defects is labelled: they are small.
            rows, columns = np.divmod(flat, size[1])
            top, left = rows.min(), columns.min()
            box = mask[top : rows.max() + 1, left : columns.max() + 1]
            labelled, found = ndimage.label(box, structure=EIGHT_CONNECTED)
            region = labelled[rows - top, columns - left]
            share = 1.0 / np.bincount(region)[1:][region - 1]
            count += int(found)
        else:
            share = np.empty(0)
        pixels.append(flat)
        shares.append(share)
    height, width = size or (0, 0)
    return Regions((int(height), int(width)), tuple(pixels), tuple(shares), count)
