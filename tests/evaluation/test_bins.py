"""The bins of pixels against a search for each of them."""

from __future__ import annotations

import numpy as np
import pytest

from tuner.evaluation.bins import Bins

RNG = np.random.default_rng(0)
SPREAD = RNG.standard_normal(2000)
# A few values that one rounding tells apart, and a crowd of them.
CLOSE = np.float32(1.0) + np.arange(5) * np.float32(2**-23)
CROWD = np.float32(1.0) + np.arange(300) * np.float32(2**-23)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "chosen", [SPREAD[:1], SPREAD[:300], CLOSE, CROWD, [*CROWD, 1e30], [-1e30, *CLOSE, *SPREAD]]
)
def test_each_value_lies_alone_or_strictly_between_two(chosen, dtype):
    chosen = np.unique(np.asarray(chosen, dtype))
    values = np.concatenate([chosen, RNG.choice(chosen, 500), SPREAD, SPREAD + 1]).astype(dtype)
    values = np.concatenate([values, np.nextafter(values, dtype(0)), [dtype(-1e35), dtype(1e35)]])
    bins = Bins(chosen)
    expected = np.searchsorted(chosen, values) + np.searchsorted(chosen, values, side="right")
    assert (bins.of(values) == expected).all()
    for some in (values[:7], values[7:]):
        bins.add(some.astype(dtype))
    assert (bins.counts == np.bincount(expected, minlength=2 * len(chosen) + 1)).all()


def test_a_chunk_of_many_blocks(monkeypatch):
    monkeypatch.setattr("tuner.evaluation.bins.BLOCK_PIXELS", 64)
    bins = Bins(np.array([-1.0, 0.0, 1.0], np.float32))
    bins.add(np.repeat(np.array([-2, -1, 0.5, 1], np.float32), 100))
    assert bins.counts.tolist() == [100, 100, 0, 0, 100, 100, 0]
