"""Thresholds from held-out normals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tuner.registry import quantile_threshold
from tuner.registry.threshold import needed


def test_by_hand():
    scores = np.arange(1.0, 20.0)  # 19 normals
    found = quantile_threshold(scores[::-1], 0.05)
    assert found.value == 19.0 and found.achievable_rate == pytest.approx(0.05)
    assert found.supported and found.caution() == ""
    assert quantile_threshold(scores, 0.10).value == 18.0
    assert quantile_threshold(scores, 0.099).value == 19.0, "never above the rate asked for"
    assert quantile_threshold(scores, 0.5).value == 10.0


def test_too_few_normals_say_so():
    found = quantile_threshold(np.arange(15.0), 0.01)
    assert found.value == 14.0 and not found.supported
    assert found.achievable_rate == pytest.approx(1 / 16)
    assert "15 held-out" in found.caution() and "at least 99" in found.caution()


@pytest.mark.parametrize("rate", [0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 0.9, 0.999])
def test_how_many_are_needed(rate):
    count = needed(rate)
    assert quantile_threshold(np.arange(float(count)), rate).supported
    assert count == 1 or not quantile_threshold(np.arange(count - 1.0), rate).supported


@pytest.mark.parametrize("count", [19, 30, 99])
@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_the_rate_is_kept_on_average(count, rate):
    """Mean over many draws of the share of new normals above the threshold; never above."""
    rng = np.random.default_rng(count)
    draws = rng.random((4000, count))  # uniform: the share above t is 1 - t
    shares = [1 - quantile_threshold(row, rate).value for row in draws]
    expected = quantile_threshold(draws[0], rate).achievable_rate
    assert np.mean(shares) == pytest.approx(expected, abs=4e-3) and expected <= rate


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, math.nan])
def test_rates_that_make_no_sense(rate):
    with pytest.raises(ValueError, match="false_positive_rate is"):
        quantile_threshold([1.0], rate)


def test_scores_that_make_no_sense():
    with pytest.raises(ValueError, match="no held-out score"):
        quantile_threshold([], 0.1)
    with pytest.raises(ValueError, match="1 of 2 held-out scores"):
        quantile_threshold([1.0, math.nan], 0.1)
