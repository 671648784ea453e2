"""Pixel AUROC, pixel average precision and AUPRO, all from one weighted histogram.

All three need, for each defect pixel, only how many normal and how many defect pixels of the
whole batch lie above it. So the maps are counted image by image into bins whose edges are values
of the defect pixels themselves: where every distinct defect value gets a bin of its own, the
result is exact, with memory for the defect pixels alone. Where there are more distinct values
than half of `bins`, edges are taken at equal shares of the defect and of all pixels; what is lost
then is at most half of (a bin's share of the defects) x (its share of the normal pixels), summed
over the bins. Edges are values that occur, never between them, so that a strictly increasing
change of the maps changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.evaluation.bins import Bins
from tuner.evaluation.regions import Regions, find_regions

Array = NDArray[Any]
Maps = Callable[[], Iterable[Array]]
Chunk = tuple[Array, Array, Array]
Chunks = Callable[[], Iterable[Chunk]]

FALSE_POSITIVE_LIMIT = 0.3
BINS = 1 << 19
CHUNK_PIXELS = 1 << 20
SAMPLE_PIXELS = 1 << 22
HELD_PIXELS = 1 << 26


class PixelMetrics(NamedTuple):
    """NaN where there is no defect pixel, or no normal one."""

    auroc: float
    ap: float
    aupro: float


@dataclass(frozen=True)
class Histogram:
    """Counts by bin, highest values first.

    `normal` and `defect` count pixels, `overlap` sums the defect pixels' shares of their regions
    (so that it adds up to the number of regions), `single` says where a bin holds one value only.
    """

    normal: Array
    defect: Array
    overlap: Array
    single: Array


def pixel_metrics(
    maps: Maps,
    regions: Regions,
    limit: float = FALSE_POSITIVE_LIMIT,
    bins: int = BINS,
) -> PixelMetrics:
    """Metrics of anomaly maps `[H, W]`, one for each image of `regions`, in its order.

    `maps` is called once for as many pixels as fit into memory (64 million), else three times at
    most, and must give the same maps each time. Raises ValueError for another number or size of
    maps, for a value that is not finite, and for a limit outside (0, 1].
    """
    if not 0.0 < limit <= 1.0:
        raise ValueError(f"limit is {limit}, but must be above 0 and at most 1")
    if bins < 4:
        raise ValueError(f"bins is {bins}, but must be at least 4")
    counted = count(maps, regions, bins)
    return PixelMetrics(auroc(counted), average_precision(counted), overlap_area(counted, limit))


def aupro(
    maps: Iterable[Array], masks: Iterable[Array], limit: float = FALSE_POSITIVE_LIMIT
) -> float:
    """Area under the per-region overlap curve up to a false-positive rate, over that rate.

    The overlap at a threshold is the covered share of a region, averaged over all 8-connected
    regions; the false-positive rate is that of all normal pixels together (Bergmann et al.,
    "Uninformed Students", Section 4). The curve is linear between thresholds and cut at `limit`.
    Always in [0, 1]; NaN without a defect or without a normal pixel.
    """
    held = list(maps)
    return pixel_metrics(lambda: held, find_regions(masks), limit).aupro


def count(maps: Maps, regions: Regions, bins: int = BINS) -> Histogram:
    """The histogram from which all three metrics follow."""
    if regions.all_pixels <= HELD_PIXELS:
        held = list(_chunks(maps, regions))
        return _count(lambda: held, regions, bins)
    return _count(lambda: _chunks(maps, regions), regions, bins)


def _count(chunks: Chunks, regions: Regions, bins: int) -> Histogram:
    chosen = _chosen(chunks, regions, bins)
    if not len(chosen):
        nothing = np.zeros(1, dtype=np.int64)
        return Histogram(nothing, nothing, nothing.astype(float), nothing > 0)
    binned = Bins(chosen)
    defect = np.zeros(2 * len(chosen) + 1, dtype=np.int64)
    overlap = np.zeros(len(defect))
    for values, pixels, shares in chunks():
        place = binned.of(values[pixels])
        defect += np.bincount(place, minlength=len(defect))
        overlap += np.bincount(place, weights=shares, minlength=len(defect))
        binned.add(values)
    normal = binned.counts - defect
    single = np.zeros(len(defect), dtype=bool)
    single[1::2] = True
    return Histogram(normal[::-1], defect[::-1], overlap[::-1], single[::-1])


def auroc(histogram: Histogram) -> float:
    """Probability that a defect pixel lies above a normal one; ties count half."""
    defects, normals = int(histogram.defect.sum()), int(histogram.normal.sum())
    if not (defects and normals):
        return float("nan")
    before = np.cumsum(histogram.normal) - histogram.normal
    lost = float((histogram.defect * (before + histogram.normal / 2)).sum())
    return _within(1.0 - lost / (float(defects) * float(normals)))


def overlap_area(histogram: Histogram, limit: float) -> float:
    """AUPRO: each bin lifts the overlap linearly while the false-positive rate crosses it."""
    total, normals = float(histogram.overlap.sum()), int(histogram.normal.sum())
    if not (histogram.defect.any() and normals):
        return float("nan")
    right = np.cumsum(histogram.normal) / normals
    left = right - histogram.normal / normals
    within = np.clip(limit - left, 0.0, None)
    width = right - left
    crossed = np.divide(
        np.square(within), 2 * width, out=np.zeros_like(width), where=(width > within)
    )
    area = np.where(width > within, crossed, within - width / 2)
    return _within(float((histogram.overlap * area).sum()) / (total * limit))


def average_precision(histogram: Histogram) -> float:
    """Precision at each threshold, weighted by the recall gained there.

    In a bin of several values the precision is averaged along the bin, with its normal pixels
    spread evenly between its defect pixels.
    """
    defects = int(histogram.defect.sum())
    if not (defects and histogram.normal.any()):
        return float("nan")
    held = histogram.defect > 0
    gained, passed = histogram.defect[held].astype(float), histogram.normal[held].astype(float)
    found = np.cumsum(histogram.defect)[held].astype(float)
    alarms = found + np.cumsum(histogram.normal)[held]
    at_end = gained * found / alarms
    slope = gained / (gained + passed)
    # A half, because a defect pixel is itself found at its own threshold.
    start, alarms_before = found - gained + 0.5, alarms - gained - passed + 0.5
    grown = np.log1p((gained + passed) / alarms_before)
    along = slope * (gained + (start - slope * alarms_before) * grown)
    return _within(float(np.where(histogram.single[held], at_end, along).sum()) / defects)


def _within(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _chosen(chunks: Chunks, regions: Regions, bins: int) -> Array:
    """The values that get a bin of their own, rising; half as many bins as `bins` at most.

    A value by itself is counted exactly; an edge at the top of a wide bin would make the value that
    it is, a defect's or a normal's, look like the middle of that bin.
    """
    step = max(1, -(-regions.defect_pixels // SAMPLE_PIXELS))
    defects = np.concatenate([np.empty(0, np.float32)] + [v[p][::step] for v, p, _ in chunks()])
    chosen = np.unique(defects)
    if step > 1 or 2 * len(chosen) > bins:
        # An odd step does not keep to a few columns of the images.
        step = (regions.all_pixels // SAMPLE_PIXELS) | 1
        pixels = np.sort(np.concatenate([v[::step] for v, _, _ in chunks()]))
        defects.sort()
        picked = [_evenly(defects, bins // 4), _evenly(pixels, bins // 4)]
        chosen = np.unique(np.concatenate(picked))
    return chosen


def _evenly(ordered: Array, count: int) -> Array:
    return ordered[np.linspace(0, len(ordered) - 1, min(count, len(ordered))).astype(np.intp)]


def _chunks(maps: Maps, regions: Regions) -> Iterator[Chunk]:
    """Some images at a time: all their values, and the places and shares of defect pixels."""
    area = regions.size[0] * regions.size[1]
    values: list[Array] = []
    pixels: list[Array] = []
    shares: list[Array] = []
    seen = 0
    for amap in maps():
        if seen == len(regions):
            raise ValueError(f"there are more maps than masks; masks are {len(regions)}")
        if amap.shape != regions.size:
            raise ValueError(f"map is {list(amap.shape)}, but its mask is {list(regions.size)}")
        flat = np.ravel(amap)
        if not np.isfinite(flat).all():
            raise ValueError(f"map {seen} holds a value that is not finite")
        pixels.append(regions.pixels[seen] + len(values) * area)
        shares.append(regions.shares[seen])
        values.append(flat)
        seen += 1
        if len(values) * area >= CHUNK_PIXELS:
            yield np.concatenate(values), np.concatenate(pixels), np.concatenate(shares)
            values, pixels, shares = [], [], []
    if seen != len(regions):
        raise ValueError(f"maps are {seen}, but must be {len(regions)}, one for each mask")
    if values:
        yield np.concatenate(values), np.concatenate(pixels), np.concatenate(shares)
