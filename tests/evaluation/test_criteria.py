"""Criteria against labels, on numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from tuner.evaluation.criteria import judge_criterion, random_pick, standing

AUROCS = np.array([0.9, 0.6, 0.7, 0.8, 0.5])
ALL = np.ones(5, bool)


def test_pick_regret_and_rank_by_hand():
    goodness = np.array([0.1, 0.4, 0.3, 0.5, 0.2])
    found = judge_criterion(goodness, AUROCS, ALL)
    assert found["pick"] == 3 and found["tied"] == 1 and found["applicable"]
    assert found["image_auroc"] == 0.8 and found["regret"] == pytest.approx(0.1)
    assert found["normalised_rank"] == 0.25
    assert found["spearman"] == pytest.approx(spearmanr(goodness, AUROCS).statistic)


def test_a_perfect_criterion_and_its_opposite():
    best, worst = (judge_criterion(sign * AUROCS, AUROCS, ALL) for sign in (1, -1))
    assert (best["spearman"], best["regret"], best["normalised_rank"]) == (pytest.approx(1), 0, 0)
    assert worst["spearman"] == pytest.approx(-1) and worst["normalised_rank"] == 1
    assert worst["regret"] == pytest.approx(0.4)


def test_only_candidates_are_picked_but_all_trials_are_ranked():
    finished = np.array([False, True, True, True, True])
    found = judge_criterion(AUROCS, AUROCS, finished)
    assert found["pick"] == 3 and found["regret"] == 0 and found["trials"] == 5


def test_ties_go_to_the_earliest_and_are_counted():
    found = judge_criterion(np.array([0.0, 1.0, 1.0, 1.0, 0.0]), AUROCS, ALL)
    assert found["pick"] == 1 and found["tied"] == 3 and found["normalised_rank"] == 0.75


def test_what_is_undefined_is_none_and_never_zero():
    nowhere = judge_criterion(np.full(5, np.nan), AUROCS, ALL)
    assert nowhere["applicable"] is False and nowhere["trials"] == 0
    for name in ("pick", "spearman", "image_auroc", "regret", "normalised_rank"):
        assert nowhere[name] is None
    holes = judge_criterion(np.array([np.nan, 2.0, np.nan, 1.0, np.nan]), AUROCS, ALL)
    assert holes["pick"] == 1 and holes["trials"] == 2 and holes["spearman"] is None
    one_class = judge_criterion(AUROCS, np.full(5, np.nan), ALL)
    assert one_class["pick"] == 0 and one_class["image_auroc"] is None
    assert judge_criterion(np.ones(5), AUROCS, ALL)["spearman"] is None
    assert judge_criterion(np.array([]), np.array([]), np.array([], bool))["pick"] is None


def test_a_random_pick_is_the_mean_of_every_pick():
    every = [standing(AUROCS[i], np.delete(AUROCS, i)) for i in range(5)]
    found = random_pick(AUROCS, ALL)
    for name in ("image_auroc", "regret", "normalised_rank"):
        assert found[name] == pytest.approx(np.mean([each[name] for each in every]))
    assert random_pick(np.full(3, np.nan), np.ones(3, bool))["regret"] is None


def test_one_that_beats_all_rivals_has_no_regret():
    assert standing(0.95, AUROCS)["regret"] == 0 and standing(0.95, AUROCS)["normalised_rank"] == 0
    assert standing(math.nan, AUROCS)["regret"] is None
    assert standing(0.5, np.array([]))["normalised_rank"] == 0


def test_a_pick_among_some_is_still_beside_all() -> None:
    among = np.array([False, True, True, False, False])
    found = random_pick(AUROCS, ALL, among)
    assert found["image_auroc"] == pytest.approx(0.65) and found["regret"] == pytest.approx(0.25)
    assert found["normalised_rank"] == pytest.approx((0.75 + 0.5) / 2)
    assert random_pick(AUROCS, ALL, ~ALL)["image_auroc"] is None
