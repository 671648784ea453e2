"""Consensus and aggregation against scipy, other ways to compute them, and numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, spearmanr

from methods.criteria.aggregation import (
    agreement_weights,
    best,
    borda,
    ensemble_scores,
    oriented,
    rank_correlations,
    rank_shares,
    robust_pick,
    seed_stability,
    top_overlap,
)
from methods.criteria.consensus import (
    descending_ranks,
    hits,
    kendall,
    model_centrality,
    rank_agreement,
    select,
)
from tests.methods.evidences import normal

NAN = math.nan


def rounded(trials: int, images: int) -> torch.Tensor:
    """Scores with ties."""
    return (2 * (normal(images, seed=1) + normal(trials, images, seed=2))).round()


def test_an_inverted_trial_stands_against_the_consensus() -> None:
    truth = torch.arange(20.0)
    trials = torch.stack([truth, truth.exp(), truth + 3 * torch.sin(truth), -truth])
    agreement = rank_agreement(trials)
    assert agreement[:3].min() > 0.5 and agreement[3] < -0.9
    ties = torch.tensor([[1.0, 1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4]])
    # By hand: ranks -2 -2 1 3 against -3 -1 1 3.
    assert rank_agreement(ties)[0].item() == pytest.approx(18 / math.sqrt(18 * 20))
    with pytest.raises(ValueError, match="3 trials or more"):
        rank_agreement(truth[None])


def test_rank_one_is_the_most_anomalous() -> None:
    assert descending_ranks(torch.tensor([[0.1, 0.9, 0.5, 0.5]])).tolist() == [[4, 1, 2.5, 2.5]]


@pytest.mark.parametrize("images", [7, 120])
def test_kendall_and_centrality_are_those_of_scipy(images: int) -> None:
    scores = rounded(5, images)
    taus = np.array([[kendalltau(one, other).statistic for other in scores] for one in scores])
    assert np.allclose(kendall(scores, scores[2]).numpy(), taus[:, 2])
    others = (taus.sum(1) - 1) / 4
    assert np.allclose(model_centrality(scores).numpy(), others)


def test_centrality_of_equal_models_is_one() -> None:
    scores = normal(1, 15).expand(4, -1)
    assert torch.allclose(model_centrality(scores), torch.ones(4).double())
    assert torch.allclose(hits(scores), torch.full((4,), 0.5).double())
    assert torch.allclose(select(scores), torch.ones(4).double())


def test_hubs_are_the_fixed_point_of_the_iteration() -> None:
    scores = rounded(6, 25)
    weights = 1 / descending_ranks(scores)
    hubs = torch.ones(6, dtype=torch.float64)
    for _ in range(500):
        hubs = weights @ (weights.T @ hubs)
        hubs = hubs / hubs.norm()
    assert torch.allclose(hits(scores), hubs, atol=1e-9)


def test_select_keeps_who_disagrees_out() -> None:
    truth = normal(40, seed=5)
    good = truth + 0.2 * normal(4, 40, seed=6)
    scores = torch.cat((good, normal(2, 40, seed=7)))
    value = select(scores)
    assert value[:4].min() > 0.5 > value[4:].max()
    # By hand: two alike and one reversed. The first is nearest the mean and taken, so is its like;
    # the third's tau with them is -1, below their mean.
    three = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    assert select(three).tolist() == pytest.approx([1.0, 1.0, -1.0])


def test_rank_shares_and_borda_by_hand() -> None:
    values = torch.tensor([[0.9, 0.5, 0.1], [2.0, 2.0, 1.0], [NAN, 5.0, 7.0]])
    shares = rank_shares(values)
    expected = torch.tensor([[1, 0.5, 0], [0.75, 0.75, 0], [NAN, 0, 1]], dtype=torch.float64)
    assert torch.allclose(shares, expected, equal_nan=True)
    assert borda(values).tolist() == pytest.approx([1.75 / 2, 1.25 / 3, 1 / 3])
    weighted = borda(values, torch.tensor([1.0, 0.0, 3.0]))
    assert weighted.tolist() == pytest.approx([1.0, 0.125, 0.75])
    assert borda(torch.full((2, 3), NAN)).isnan().all()
    with pytest.raises(ValueError, match="at least 0"):
        borda(values, torch.tensor([1.0, -1.0, 1.0]))


def test_criteria_are_turned_so_that_higher_is_better() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, math.inf]])
    turned = oriented(values, ["minimize", "maximize"])
    assert torch.allclose(turned, torch.tensor([[-1, -2], [3, NAN]]).double(), equal_nan=True)
    with pytest.raises(ValueError, match="K directions"):
        oriented(values, ["minimize"])


def test_a_criterion_that_stands_alone_counts_little() -> None:
    truth = normal(12, seed=1)
    values = torch.stack((truth, truth + 0.1 * normal(12, seed=2), -truth))
    values[1, 3] = NAN
    correlations = rank_correlations(values)
    known = [i for i in range(12) if i != 3]
    expected = spearmanr(values[0, known], values[1, known]).statistic
    assert correlations[0, 1].item() == pytest.approx(expected)
    weights = agreement_weights(values)
    assert weights[2] == 0 and (weights[:2] >= 0).all()
    assert rank_correlations(values[:, :2]).isnan().all()


def test_a_robust_pick_is_the_most_agreed_of_the_best() -> None:
    values = torch.tensor([0.9, NAN, 0.8, 0.7, 0.1])
    consensus = torch.tensor([-0.5, 0.9, NAN, 0.6, 0.8])
    assert best(values) == 0
    assert robust_pick(values, consensus, k=1) == 0
    assert robust_pick(values, consensus, k=3) == 3
    assert robust_pick(values, consensus, k=9) == 4
    assert robust_pick(values, torch.full((5,), NAN)) == 0
    with pytest.raises(ValueError, match="none of 2"):
        best(torch.tensor([NAN, NAN]))


def test_an_ensemble_averages_ranks() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0, 4.0], [400.0, 100.0, 200.0, 300.0]])
    shares = torch.tensor([[1, 3, 5, 7], [7, 1, 3, 5]]) / 8
    assert ensemble_scores(scores).tolist() == pytest.approx(shares.mean(0).tolist())
    # Against kept scores an image's value does not depend on the company it keeps.
    alone = torch.cat([ensemble_scores(scores[:, i : i + 1], scores) for i in range(4)])
    assert torch.allclose(alone, ensemble_scores(scores))


def test_stability_over_seeds() -> None:
    ranking = torch.arange(10.0)
    same = torch.stack((ranking, 2 * ranking, ranking.exp()))
    assert seed_stability(same) == pytest.approx(1) and top_overlap(same, 3) == pytest.approx(1)
    two = torch.stack((ranking, -ranking))
    assert seed_stability(two) == pytest.approx(-1) and top_overlap(two, 3) == 0
    assert top_overlap(two, 6) == pytest.approx(2 / 6)
    assert math.isnan(seed_stability(same[:1])) and math.isnan(top_overlap(same[:1], 2))
    with pytest.raises(ValueError, match="from 1 to the 10"):
        top_overlap(same, 11)
