"""The same metrics written down naively."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def brute_aupro(maps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """Every distinct value as a threshold, every region by itself."""
    regions = []
    for index, mask in enumerate(masks):
        labelled, found = ndimage.label(mask, np.ones((3, 3)))
        regions += [(index, labelled == number) for number in range(1, found + 1)]
    rates, overlaps = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        above = maps >= threshold
        rates.append(above[~masks].mean())
        overlaps.append(np.mean([above[index][region].mean() for index, region in regions]))
    rates, overlaps = np.array(rates), np.array(overlaps)
    inside = rates <= limit
    x = np.append(rates[inside], limit)
    y = np.append(overlaps[inside], np.interp(limit, rates, overlaps))
    return float(np.trapezoid(y, x) / limit)


def random_batch(seed: int, images: int = 6, size=(24, 31), levels: int | None = None):
    """Maps with some signal and masks with a few touching and separate defects."""
    rng = np.random.default_rng(seed)
    masks = ndimage.binary_dilation(
        rng.random((images, *size)) > 0.985, structure=np.ones((1, 3, 2))
    )
    masks[0] = False
    maps = rng.normal(size=masks.shape) + rng.uniform(0, 2) * masks
    if levels is not None:
        maps = np.round(maps * levels) / levels
    return maps.astype(np.float32), masks
