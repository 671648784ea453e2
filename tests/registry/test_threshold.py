"""Thresholds from held-out normals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tuner.registry import find_threshold, quantile_threshold
from tuner.registry.threshold import extreme_value_threshold, fit_tail, needed


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


def test_an_exponential_tail_is_found_by_its_moments():
    """Of the law exp(-x): shape 0 and scale 1, by the expected order statistics."""
    count = 2000
    expected = -np.log1p(-(np.arange(1, count + 1) - 0.5) / count)
    shape, scale = fit_tail(expected)
    assert shape == pytest.approx(0, abs=0.02) and scale == pytest.approx(1, abs=0.02)
    # A uniform law is a generalised Pareto of shape -1.
    shape, scale = fit_tail(np.arange(1, count + 1) / count)
    assert shape == pytest.approx(-1, abs=0.01) and scale == pytest.approx(2 - 1, abs=0.01)


@pytest.mark.parametrize("draw", ["exponential", "normal"])
def test_an_extrapolated_tail_is_nearer_a_low_rate_than_the_quantile_can_be(draw):
    """On average over 300 sets of 40 normals; one in 41 is the lowest rate they can promise."""
    rng, rate = np.random.default_rng(1), 0.005
    rows = getattr(rng, draw)(size=(300, 40))
    new = np.sort(getattr(rng, draw)(size=200_000))

    def share(value):
        return 1 - np.searchsorted(new, value) / len(new)

    found = [extreme_value_threshold(row, rate) for row in rows]
    assert {each.rule for each in found} == {"extreme-value"}
    assert "extrapolated" in found[0].caution()
    extrapolated = np.mean([share(each.value) for each in found])
    plain = np.mean([share(row.max()) for row in rows])
    assert rate < extrapolated < 3 * rate < plain


def test_a_tail_that_cannot_be_fitted_is_left_to_the_quantile():
    scores = np.arange(100.0)
    assert extreme_value_threshold(scores, 0.5) == quantile_threshold(scores, 0.5)
    assert extreme_value_threshold(scores[:8], 0.01) == quantile_threshold(scores[:8], 0.01)
    equal = np.concatenate([scores[:50], np.full(50, 99.0)])
    assert extreme_value_threshold(equal, 0.01) == quantile_threshold(equal, 0.01)
    assert find_threshold(scores, 0.05) == quantile_threshold(scores, 0.05)
    assert find_threshold(scores, 0.05, "extreme-value").caution() == ""
    with pytest.raises(ValueError, match="not finite"):
        extreme_value_threshold([1.0, math.inf], 0.1)
