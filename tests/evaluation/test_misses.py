"""The worst errors of a detector."""

from __future__ import annotations

import numpy as np

from tuner.data.labels import Labels
from tuner.evaluation.misses import find_misses

SCORES = np.array([0.9, 0.2, 0.8, 0.1, 0.7, 0.3])


def labels(anomalous: list[bool]) -> Labels:
    kinds = tuple("crack" if bad else "" for bad in anomalous)
    return Labels(np.array(anomalous), kinds, None, np.zeros(len(anomalous), bool), 0)


def test_the_worst_on_the_wrong_side_come_first() -> None:
    found = find_misses(labels([True, True, False, True, False, False]), SCORES, 0.5, 5)
    assert found.overlooked == (3, 1)
    assert found.false_alarms == (2, 4)
    assert found.defects[3] == "crack" and found.defects[2] == ""
    fewer = find_misses(labels([True, True, False, True, False, False]), SCORES, 0.5, 1)
    assert (fewer.overlooked, fewer.false_alarms) == ((3,), (2,))


def test_the_curve_is_that_of_the_scores() -> None:
    found = find_misses(labels([True, False, True, False, True, False]), SCORES, 0.5, 3)
    assert found.curve is not None
    wrong, right = found.curve
    assert (wrong[0], right[0], wrong[-1], right[-1]) == (0.0, 0.0, 1.0, 1.0)
    # The three highest scores are the three anomalies.
    assert (0.0, 1.0) in set(zip(wrong, right, strict=True))
    assert found.overlooked == found.false_alarms == ()


def test_one_class_alone_has_no_curve() -> None:
    assert find_misses(labels([False] * 6), SCORES, 0.5, 3).curve is None
