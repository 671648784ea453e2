"""Image metrics against scikit-learn and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from tuner.evaluation import image_ap, image_auroc, image_f1_max

ALL = (image_auroc, image_ap, image_f1_max)


@pytest.mark.parametrize("levels", [None, 3, 20])
@pytest.mark.parametrize("seed", range(5))
def test_equal_to_scikit_learn_with_and_without_ties(seed, levels):
    rng = np.random.default_rng(seed)
    truth = rng.random(60) < 0.3
    scores = rng.normal(size=60) + truth
    if levels:
        scores = np.round(scores * levels / 3)
    assert image_auroc(truth, scores) == pytest.approx(metrics.roc_auc_score(truth, scores), 1e-12)
    assert image_ap(truth, scores) == pytest.approx(
        metrics.average_precision_score(truth, scores), 1e-12
    )
    best = max(metrics.f1_score(truth, scores >= t) for t in scores)
    assert image_f1_max(truth, scores) == pytest.approx(best, 1e-12)


def test_by_hand():
    truth, scores = [0, 1, 0, 1], [0.1, 0.4, 0.4, 0.9]
    assert image_auroc(truth, scores) == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    assert image_ap(truth, scores) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert image_f1_max(truth, scores) == pytest.approx(2 * 2 / (3 + 2))


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("truth", [[True, True], [False, False]])
def test_one_class_is_not_defined(metric, truth):
    assert math.isnan(metric(truth, [0.0, 1.0]))


@pytest.mark.parametrize("metric", ALL)
def test_only_the_order_counts(metric):
    rng = np.random.default_rng(0)
    truth, scores = rng.random(40) < 0.5, rng.normal(size=40)
    assert metric(truth, np.exp(3 * scores)) == metric(truth, scores)
    assert metric(truth, np.where(scores > 0.5, np.inf, scores)) <= 1.0


@pytest.mark.parametrize("metric", ALL)
def test_scores_that_are_not_numbers_are_refused(metric):
    with pytest.raises(ValueError, match="1 of 2 scores"):
        metric([True, False], [0.0, math.nan])
    with pytest.raises(ValueError, match="one per label"):
        metric([True, False], [0.0])
