"""Bins at chosen values and between them, and a grid that finds a pixel's bin in a few steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CELLS = 1 << 20
# Small enough that what is computed of a block stays in the processor's cache.
BLOCK_PIXELS = 1 << 15
# Of more values in a cell than 2 to this power, pixels are sorted instead.
STEPS = 3
CROWDED_SHARE = 0.05


class Bins:
    """The 2n + 1 bins of n `chosen` values, which rise: bin 2k + 1 holds value k alone, bin 2k what
    lies strictly between values k - 1 and k. A value by itself is counted exactly.

    An even grid lies over the values. Pixels in a cell without a chosen value are counted together;
    the others are compared with the few values of their cell, in as many steps as that number has
    binary digits, and only those of crowded cells have to be sorted. Cells keep the order of
    values, so nothing is rounded.
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
        self._in_cell = np.zeros(CELLS + 1, dtype=np.int64)
        self._counts = np.zeros(2 * len(chosen) + 1, dtype=np.int64)

    def of(self, values: Array) -> Array:
        """The bin of each value, by a search."""
        return self._bins(np.searchsorted(self.chosen, values), values)

    def add(self, values: Array) -> None:
        """Count values; an array of any size."""
        cells, bins = np.empty(len(values), np.intp), np.empty(len(values), np.intp)
        found = 0
        for start in range(0, len(values), BLOCK_PIXELS):
            block = values[start : start + BLOCK_PIXELS]
            cell = self._cells(block)
            cells[start : start + BLOCK_PIXELS] = cell
            held = self._held.take(cell)
            few = np.flatnonzero(held == 1)
            bins[found : found + len(few)] = self._nearby(block.take(few), cell.take(few))
            found += len(few)
            # Sorted values are found faster, and their order does not matter here.
            crowd = np.sort(block[held == 2])
            bins[found : found + len(crowd)] = self.of(crowd)
            found += len(crowd)
        self._in_cell += np.bincount(cells, minlength=CELLS + 1)
        self._counts += np.bincount(bins[:found], minlength=len(self._counts))

    def counts(self) -> Array:
        """int64 `[2n + 1]`: how many of the values added lie in each bin."""
        free = self._held == 0
        counts = self._counts.copy()
        np.add.at(counts, 2 * self._first[free], self._in_cell[free])
        return counts

    def _cells(self, values: Array) -> Array:
        """Cell of each value; 0 is below all that are chosen."""
        spread = np.empty(len(values), np.result_type(values.dtype, np.float32))
        np.subtract(values, self._low, out=spread)
        spread *= self._scale
        spread += 1.0
        np.clip(spread, 0, CELLS, out=spread)
        return spread.astype(np.intp)

    def _nearby(self, values: Array, cells: Array) -> Array:
        """The bin of each value, from the first chosen value in its cell on."""
        place = self._first.take(cells)
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
