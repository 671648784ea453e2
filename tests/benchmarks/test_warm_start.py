"""How many trials a head start saves, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from warm_start import compare, first_reached, trials_needed

COLD = np.array([0.1, 0.2, 0.3, 0.4, 0.5, *np.linspace(0.0, 0.09, 15)])


def test_the_expected_place_of_the_first_that_reaches_a_value() -> None:
    assert first_reached(np.array([1.0]), 0.5) == 1
    # Of three draws one reaches it: first, second or third, each as likely.
    assert first_reached(np.array([0.1, 0.9, 0.2]), 0.5) == 2
    assert first_reached(np.array([0.1, 0.2]), 0.5) == 3


def test_warm_trials_come_first() -> None:
    cold = np.array([0.1, 0.9, 0.2])
    assert trials_needed(np.array([0.3, 0.6, 0.7]), cold, 0.5) == 2
    assert trials_needed(np.array([0.3, 0.4, 0.1]), cold, 0.5) == 3 + 2


def test_warm_trials_beside_random_ones() -> None:
    warm = (np.array([0.6, 0.2, 0.1]), np.array([0.9, 0.5, 0.5]))
    found = compare(warm, (COLD, COLD + 0.3))
    assert found["as 20 draws"] == {"trials": 21 / 2, "trials_warm": 1.0}
    assert found["image_auroc_of_warm"] == 0.9 and found["criterion_of_warm"] == 0.6
    gap = found["image_auroc_of_three_draws"] - found["criterion_of_three_draws"]
    assert gap == pytest.approx(0.3)
