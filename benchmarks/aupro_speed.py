"""How fast and how exact AUPRO is, beside a loop over thresholds and regions.

    python benchmarks/aupro_speed.py

Smooth random maps of 256 x 256 with elliptic defects, one thread, beside four other ways:
- loop: a mask of the whole batch for each of 200 thresholds and each region;
- script: at each threshold the regions of each mask are found again and their covered share taken,
  as published evaluation scripts do it;
- lean loop: regions are found once and looked at in their own image only;
- sort: every distinct value is a threshold, by one sort of all pixels. It is exact, and the error
  of the others is their distance from it.
Writes aupro_speed.json beside itself.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy import ndimage  # noqa: E402
from skimage import measure  # noqa: E402

from tuner.evaluation.pixel_metrics import pixel_metrics  # noqa: E402
from tuner.evaluation.regions import EIGHT_CONNECTED, find_regions  # noqa: E402

IMAGES, SIDE, THRESHOLDS, LIMIT = 40, 256, 200, 0.3
AUDIT_IMAGES = 600

Array = NDArray[Any]


def make_batch(images: int, seed: int = 0) -> tuple[Array, Array]:
    """Maps and masks `[images, SIDE, SIDE]`; half of the images have 1 to 4 defects."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    masks = np.zeros((images, SIDE, SIDE), dtype=bool)
    for image in range(images // 2):
        for _ in range(rng.integers(1, 5)):
            row, column = rng.uniform(0, SIDE, 2)
            height, width = rng.uniform(3, 25, 2)
            masks[image] |= ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1
    noise = rng.standard_normal(masks.shape, dtype=np.float32)
    smooth = np.stack([ndimage.uniform_filter(n, 7) for n in noise])
    return (np.exp(2 * smooth) + 0.4 * masks * rng.random(masks.shape)).astype(np.float32), masks


def loop(maps: Array, masks: Array) -> float:
    """A mask of the batch for each region."""
    labels, count = np.zeros(masks.shape, dtype=np.int32), 0
    for index, mask in enumerate(masks):
        labelled, found = ndimage.label(mask, EIGHT_CONNECTED)
        labels[index] = np.where(mask, labelled + count, 0)
        count += found
    rates, overlaps = [0.0], [0.0]
    for threshold in np.linspace(maps.max(), maps.min(), THRESHOLDS):
        above = maps >= threshold
        rates.append((above & ~masks).sum() / (~masks).sum())
        regions = (labels == number for number in range(1, count + 1))
        overlaps.append(float(np.mean([(above & r).sum() / r.sum() for r in regions])))
    return area(np.array(rates), np.array(overlaps))


def script(maps: Array, masks: Array) -> float:
    """Regions are found again at each threshold."""
    rates, overlaps = [0.0], [0.0]
    for threshold in np.linspace(maps.max(), maps.min(), THRESHOLDS):
        above = maps >= threshold
        covered = []
        for binary, mask in zip(above, masks, strict=True):
            for region in measure.regionprops(measure.label(mask)):
                rows, columns = region.coords[:, 0], region.coords[:, 1]
                covered.append(binary[rows, columns].sum() / region.area)
        outside = ~masks
        rates.append((above & outside).sum() / outside.sum())
        overlaps.append(float(np.mean(covered)))
    return area(np.array(rates), np.array(overlaps))


def lean_loop(maps: Array, masks: Array) -> float:
    """Regions are found once."""
    regions = []
    for index, mask in enumerate(masks):
        labelled, found = ndimage.label(mask, EIGHT_CONNECTED)
        regions += [(index, labelled == number) for number in range(1, found + 1)]
    rates, overlaps = [0.0], [0.0]
    for threshold in np.linspace(maps.max(), maps.min(), THRESHOLDS):
        above = maps >= threshold
        rates.append((above & ~masks).sum() / (~masks).sum())
        overlaps.append(np.mean([(above[i] & r).sum() / r.sum() for i, r in regions]))
    return area(np.array(rates), np.array(overlaps))


def exact(maps: Array, masks: Array) -> float:
    """Every distinct value is a threshold: one sort of all pixels."""
    weight, count = np.zeros(masks.shape), 0
    for index, mask in enumerate(masks):
        labelled, found = ndimage.label(mask, EIGHT_CONNECTED)
        count += found
        sizes = np.bincount(labelled.ravel())
        weight[index][mask] = 1.0 / sizes[labelled[mask]]
    order = np.argsort(-maps, axis=None, kind="stable")
    values = maps.ravel()[order]
    last = np.append(values[1:] != values[:-1], True)
    rates = np.cumsum(~masks.ravel()[order])[last] / (~masks).sum()
    overlaps = np.cumsum(weight.ravel()[order])[last] / count
    return area(np.append(0.0, rates), np.append(0.0, overlaps))


def area(rates: Array, overlaps: Array) -> float:
    at_limit = np.interp(LIMIT, rates, overlaps)
    inside = rates <= LIMIT
    x, y = np.append(rates[inside], LIMIT), np.append(overlaps[inside], at_limit)
    return float(np.trapezoid(y, x) / LIMIT)


def timed(function: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    """Result and the best of some times in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return result, min(times)


def main() -> None:
    maps, masks = make_batch(IMAGES)

    def ours(bins: int = 1 << 19) -> Any:
        return pixel_metrics(lambda: maps, find_regions(masks), LIMIT, bins)

    metrics, seconds = timed(ours, 7)
    binned, binned_seconds = timed(lambda: ours(1 << 15), 7)
    truth, sort_seconds = timed(lambda: exact(maps, masks), 2)
    rough, loop_seconds = timed(lambda: loop(maps, masks), 1)
    _, script_seconds = timed(lambda: script(maps, masks), 1)
    _, lean_seconds = timed(lambda: lean_loop(maps, masks), 2)
    many, many_masks = make_batch(AUDIT_IMAGES, seed=1)
    _, audit_seconds = timed(lambda: pixel_metrics(lambda: many, find_regions(many_masks)), 1)
    result = {
        "images": IMAGES,
        "side": SIDE,
        "regions": find_regions(masks).count,
        "loop_thresholds": THRESHOLDS,
        "loop_seconds": loop_seconds,
        "script_seconds": script_seconds,
        "lean_loop_seconds": lean_seconds,
        "sort_seconds": sort_seconds,
        "seconds": seconds,
        "seconds_with_32768_bins": binned_seconds,
        "times_faster_than_loop": loop_seconds / seconds,
        "times_faster_than_script": script_seconds / seconds,
        "times_faster_than_lean_loop": lean_seconds / seconds,
        "times_faster_than_sort": sort_seconds / seconds,
        "aupro": metrics.aupro,
        "error": abs(metrics.aupro - truth),
        "error_with_32768_bins": abs(binned.aupro - truth),
        "loop_error": abs(rough - truth),
        "seconds_for_600_images": audit_seconds,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
