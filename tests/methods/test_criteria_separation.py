"""The newer criteria of scores and embeddings against numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from methods.criteria.discordance import dsv, half_distance
from methods.criteria.dispersion import score_variance_robust
from methods.criteria.separation import (
    expected_anomaly_gap,
    normalised_pseudo_discrepancy,
    relative_top_median,
)
from tests.methods.evidences import normal


def test_robust_variance_by_hand() -> None:
    batch = torch.tensor([[1.0, 2.0, 3.0, 4.0, 10.0]])
    held_out = torch.tensor([[0.0, 1.0, 2.0, 3.0, 8.0]])
    # Deviations from 3: 2 1 0 1 7, mean 2.2; from 2: 2 1 0 1 6, median 1.
    assert score_variance_robust(batch, held_out).item() == pytest.approx(2.2**2)
    even = torch.tensor([[0.0, 1.0, 3.0, 4.0]])
    # Median 2, deviations 2 1 1 2.
    assert score_variance_robust(batch, even).item() == pytest.approx((2.2 / 1.5) ** 2)
    assert score_variance_robust(batch, torch.tensor([[1.0, 1, 1, 5]])).isnan().all()


def test_one_extreme_score_does_not_decide_the_robust_variance() -> None:
    batch, held_out = normal(1, 100), normal(1, 50, seed=1)
    wild = batch.clone()
    wild[0, 0] = 100.0
    ratio = score_variance_robust(wild, held_out) / score_variance_robust(batch, held_out)
    assert 1 < ratio < 8 and wild.var() / batch.var() > 70


def test_top_over_median_by_hand() -> None:
    scores = torch.arange(1.0, 41.0)[None]
    # Two of forty on top: 39.5; the median is 20.5.
    assert relative_top_median(scores).item() == pytest.approx((39.5 - 20.5) / 20.5)
    assert relative_top_median(torch.tensor([[1.0, 2.0, 6.0]])).item() == pytest.approx(2.0)
    assert relative_top_median(torch.tensor([[-1.0, 2.0, 6.0], [0.0, 0.0, 5.0]])).isnan().all()


def test_gap_is_the_definition() -> None:
    scores = normal(3, 17) ** 2
    expected = []
    for row in scores.numpy():
        ordered, n = np.sort(row)[::-1], len(row)
        ratios = []
        for k in range(1, math.ceil(0.2 * n) + 1):
            high, low = ordered[:k], ordered[k:]
            between = k * (n - k) * (high.mean() - low.mean()) ** 2
            ratios.append(between / (n * (k * high.var() + (n - k) * low.var())))
        expected.append(np.mean(ratios))
    assert torch.allclose(expected_anomaly_gap(scores), torch.tensor(expected))


def test_gap_by_hand() -> None:
    # k = 1 only: 1 * 4 * 10^2 / (5 * 4 * 0.5), the lower four -1 0 0 1.
    scores = torch.tensor([[-1.0, 0.0, 0.0, 1.0, 10.0]])
    assert expected_anomaly_gap(scores).item() == pytest.approx(400 / 10)
    two_values = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0]])
    assert expected_anomaly_gap(two_values).item() == pytest.approx(1e6)


def test_pseudo_discrepancy_by_hand() -> None:
    noise, held_out = torch.tensor([[4.0, 6.0]]), torch.tensor([[0.0, 1.0, 2.0]])
    assert normalised_pseudo_discrepancy(noise, held_out).item() == pytest.approx(16 / (2 * 3))
    assert normalised_pseudo_discrepancy(noise[:, :1], held_out).isnan().all()


def test_dsv_by_hand() -> None:
    train, corrupted = torch.tensor([[0.0], [2.0]]), torch.tensor([[9.0], [11.0]])
    test = torch.tensor([[1.0], [10.0]])
    # Half distances: clean to corrupted 9 / 2; all four to the batch (1+1+8+10+10+8+1+1)/8/2.
    assert half_distance(train, corrupted).item() == 4.5
    discordance = (40 / 8 / 2) / 4.5
    # Projections 0 and 9: spread 4.5, over 4.5, capped at a half.
    assert dsv(train, corrupted, test).item() == pytest.approx(discordance - 0.5 / discordance)
    near = torch.tensor([[1.0], [2.0]])
    discordance = ((1 + 1 + 8 + 10 + 2 + 0 + 7 + 9) / 8 / 2) / 4.5
    expected = discordance - (0.5 / 4.5) / discordance
    assert dsv(train, corrupted, near).item() == pytest.approx(expected)


def test_dsv_falls_towards_alignment_and_is_invariant() -> None:
    train, away = 0.1 * normal(20, 3), torch.tensor([1.0, 0.0, 0.0])
    test = torch.cat((train[:10], train[10:] + 4 * away))
    values = [float(dsv(train, train.flip(0) + step * away, test)) for step in (1.0, 2.0, 4.0)]
    assert values[0] > values[1] > values[2]
    turn = torch.linalg.qr(normal(3, 3, seed=3)).Q
    sets = train, train.flip(0) + away, test
    moved = dsv(*((7 * rows + 3) @ turn for rows in sets))
    assert moved.item() == pytest.approx(dsv(*sets).item())


def test_dsv_uses_as_many_corrupted_rows_as_clean_ones() -> None:
    train, corrupted, test = normal(4, 3), normal(9, 3, seed=1) + 2, normal(6, 3, seed=2)
    assert torch.equal(dsv(train, corrupted, test), dsv(train, corrupted[:4], test))
    assert dsv(train[:1], train[:1], test).isnan()
    with pytest.raises(ValueError, match="at least one of each"):
        dsv(train, corrupted[:0], test)
