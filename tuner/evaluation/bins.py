"""Bins at chosen values and between them, and a grid that finds a pixel's bin in a few steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CELLS = 1 << 19
# Small enough that what is computed of a block stays in the processor's cache.
BLOCK_PIXELS = 1 << 16
# Of more values in a cell than 2 to this power, pixels are sorted instead.
STEPS = 3
CROWDED_SHARE = 0.05


class Bins:
    """The 2n + 1 bins of n `chosen` values, which rise: bin 2k + 1 holds value k alone, bin 2k what
    lies strictly between values k - 1 and k. A value by itself is counted exactly.

    An even grid lies over the values. A cell without a chosen value tells the bin of its pixels;
    others are compared with the few values of their cell, in as many steps as that number has
    binary digits, and only those of crowded cells have to be sorted. Cells keep the order of
    values, so nothing is rounded.

    `counts` int64 `[2n + 1]` says how many of the values added lie in each bin.
    """

    def __init__(self, chosen: Array) -> None:
        self.chosen = chosen
        # The upper tail goes to the last cell: one extreme value must not widen all the others.
        low, high = float(chosen[0]), float(chosen[-1 - len(chosen) // 200])
        self._low = low
        self._scale = CELLS / (high - low) if high - low > CELLS * 1e-30 else 0.0
        inside = np.bincount(self._cells(chosen), minlength=CELLS + 1)
        self._first = np.cumsum(inside) - inside
        self._steps = next(
            (s for s in range(1, STEPS) if _above(inside, 1 << s) <= CROWDED_SHARE * len(chosen)),
            STEPS,
        )
        self._held = (inside > 0).astype(np.int8) + (inside >= 1 << self._steps)
        # Steps look ahead, past the last value, too.
        self._ahead = np.append(chosen, np.full(1 << STEPS, np.inf, chosen.dtype))
        self.counts = np.zeros(2 * len(chosen) + 1, dtype=np.int64)
        self._found = np.empty(0, dtype=np.intp)

    def of(self, values: Array) -> Array:
        """The bin of each value, by a search."""
        return self._bins(np.searchsorted(self.chosen, values), values)

    def add(self, values: Array) -> None:
        """Count values; an array of any size."""
        if len(self._found) < len(values):
            # Fresh memory costs more here than the arithmetic, so it is used again.
            self._found = np.empty(len(values), dtype=np.intp)
        found = self._found[: len(values)]
        for start in range(0, len(values), BLOCK_PIXELS):
            block = values[start : start + BLOCK_PIXELS]
            bins = found[start : start + BLOCK_PIXELS]
            cells = self._cells(block)
            place, held = self._first.take(cells), self._held.take(cells)
            np.multiply(place, 2, out=bins)
            few, crowd = np.flatnonzero(held == 1), np.flatnonzero(held == 2)
            bins[few] = self._nearby(block.take(few), place.take(few))
            # Sorted values are found faster, and which of them is whose does not matter here.
            bins[crowd] = self.of(np.sort(block.take(crowd)))
        self.counts += np.bincount(found, minlength=len(self.counts))

    def _cells(self, values: Array) -> Array:
        """Cell of each value; 0 is below all that are chosen."""
        spread = np.empty(len(values), np.result_type(values.dtype, np.float32))
        # What overflows lies in the last cell anyway.
        with np.errstate(over="ignore"):
            np.subtract(values, self._low, out=spread)
            spread *= self._scale
        spread += 1.0
        np.clip(spread, 0, CELLS, out=spread)
        return spread.astype(np.intp)

    def _nearby(self, values: Array, place: Array) -> Array:
        """The bin of each value, from the place of the first chosen value in its cell on."""
        for step in (1 << s for s in reversed(range(self._steps))):
            passed = self._ahead[step - 1 :].take(place) < values
            place += passed.view(np.int8) * np.int8(step)
        return self._bins(place, values)

    def _bins(self, place: Array, values: Array) -> Array:
        """From the place of the first chosen value that is not below each of the values."""
        return 2 * place + (self._ahead.take(place) == values)


def _above(inside: Array, most: int) -> int:
    """How many chosen values lie in cells that hold as many as `most` or more."""
    return int(inside[inside >= most].sum())
