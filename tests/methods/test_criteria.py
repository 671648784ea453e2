"""Criteria against the lemmas of their paper, direct computations and their own claims."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from methods.criteria.alignment import (
    aligned_loss,
    collapse_threshold,
    collapsed_loss,
    mmd,
    tpsd_normalise,
    validation_loss,
)
from methods.criteria.auroc import auroc
from methods.criteria.dispersion import score_variance, score_variance_standardised


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# ------------------------------------------------------------------ validation loss


@pytest.mark.parametrize("width", [1, 2, 7])
def test_lemma_1_the_loss_is_one_at_alignment(width):
    clean, anomaly = normal(1, width, seed=1), 3 + normal(1, width, seed=2)
    loss = validation_loss(clean, anomaly, torch.cat((clean, anomaly)))
    assert loss.item() == pytest.approx(1.0, abs=1e-12)


def test_lemma_2_alignment_is_the_only_minimum_nearby():
    steps = torch.linspace(-1, 1, 41, dtype=torch.float64)
    losses = torch.tensor(
        [
            [
                float(
                    validation_loss(
                        torch.zeros(1, 1, dtype=torch.float64),
                        torch.full((1, 1), 2.0, dtype=torch.float64),
                        torch.stack((u1, 2 + u2))[:, None],
                    )
                )
                for u2 in steps
            ]
            for u1 in steps
        ]
    )
    # The closed form of the paper for scalar embeddings.
    u1, u2 = steps[:, None], steps[None]
    closed = (u1.abs() + (u1 - 2).abs() + u2.abs() + (u2 + 2).abs()) / torch.sqrt(
        3 * u1**2 + 3 * u2**2 - 8 * u1 + 8 * u2 - 2 * u1 * u2 + 16
    )
    assert torch.allclose(losses.double(), closed, atol=1e-6)
    assert divmod(int(losses.argmin()), 41) == (20, 20)
    assert losses.min().item() == pytest.approx(1)
    assert (losses > 1 + 1e-6).sum() == 41 * 41 - 1


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_losses_of_point_sets_have_the_closed_forms(share):
    clean, anomaly = torch.zeros(30, 2, dtype=torch.float64), torch.ones(20, 2).double()
    bad = int(share * 40)
    test = torch.cat((torch.zeros(40 - bad, 2), torch.ones(bad, 2))).double()
    aligned = validation_loss(clean, anomaly, test).item()
    assert aligned == pytest.approx(aligned_loss(share, 30, 20, 40))
    collapsed = validation_loss(clean, torch.zeros_like(anomaly), test).item()
    assert collapsed == pytest.approx(collapsed_loss(share, 30, 20, 40))


@pytest.mark.parametrize(
    ("sizes", "threshold"),
    [
        ((32, 32, 32), 0.305),
        ((96, 96, 32), 0.142),
        ((280, 280, 47), 0.077),
        ((224, 224, 70), 0.134),
    ],
)
def test_collapse_wins_below_the_threshold(sizes, threshold):
    share = collapse_threshold(*sizes)
    assert share == pytest.approx(threshold, abs=1e-3)
    assert collapsed_loss(share * 0.9, *sizes) < aligned_loss(share * 0.9, *sizes)
    assert collapsed_loss(share * 1.1, *sizes) > aligned_loss(share * 1.1, *sizes)


def test_the_threshold_of_very_uneven_sets_is_the_first_crossing():
    share = collapse_threshold(1, 100, 100)
    assert collapsed_loss(share - 0.01, 1, 100, 100) < aligned_loss(share - 0.01, 1, 100, 100)
    assert collapsed_loss(share + 0.01, 1, 100, 100) > aligned_loss(share + 0.01, 1, 100, 100)
    with pytest.raises(ValueError, match="at least 1"):
        collapse_threshold(0, 3, 3)


def test_normalisation_fixes_the_total_pairwise_distance():
    parts = tpsd_normalise(normal(5, 3), normal(4, 3, seed=1) + 7, 100 * normal(6, 3, seed=2))
    assert [len(part) for part in parts] == [5, 4, 6]
    rows = torch.cat(parts)
    assert torch.allclose(rows.mean(0), torch.zeros(3).double(), atol=1e-12)
    assert torch.cdist(rows, rows).square().sum().item() == pytest.approx(2 * 15**2)


def test_the_loss_ignores_shift_scale_and_rotation():
    sets = [normal(5, 3), normal(4, 3, seed=1) + 2, normal(6, 3, seed=2) + 1]
    turn = torch.linalg.qr(normal(3, 3, seed=3)).Q
    moved = [(7 * rows + 3) @ turn for rows in sets]
    assert validation_loss(*moved).item() == pytest.approx(validation_loss(*sets).item())


def test_gradients_of_the_loss_are_those_of_finite_differences():
    sets = tuple(
        rows.requires_grad_()
        for rows in (normal(3, 2), normal(2, 2, seed=1) + 2, normal(3, 2, seed=2) + 1)
    )
    assert torch.autograd.gradcheck(validation_loss, sets)
    assert torch.autograd.gradgradcheck(validation_loss, sets)


def test_the_gradient_goes_through_the_normaliser():
    # Scaling all sets changes nothing, so the gradient along that direction is nil; with the
    # normaliser held constant it would be the loss itself.
    sets = [normal(5, 3), normal(4, 3, seed=1) + 2, normal(6, 3, seed=2) + 1]
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    loss = validation_loss(*(scale * rows for rows in sets))
    (gradient,) = torch.autograd.grad(loss, scale)
    assert abs(gradient.item()) < 1e-12


def test_a_test_row_on_a_mean_has_a_finite_gradient():
    clean = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    loss = validation_loss(clean, torch.ones(1, 2).double(), torch.zeros(3, 2).double())
    (gradient,) = torch.autograd.grad(loss, clean)
    assert torch.isfinite(gradient).all()


def test_the_loss_of_equal_embeddings_is_undefined_and_of_none_refused():
    same = torch.ones(3, 2)
    assert validation_loss(same, same, same).isnan()
    with pytest.raises(ValueError, match="corrupted"):
        validation_loss(same, same[:0], same)


def test_mean_discrepancies_by_hand():
    clean, corrupted, test = (
        torch.tensor(rows, dtype=torch.float64)
        for rows in ([[0.0], [2.0]], [[4.0]], [[1.0], [5.0]])
    )
    assert mmd(clean, corrupted, test, normalise=False).item() == pytest.approx((2 - 3) ** 2)
    mean_square = np.var([0, 2, 4, 1, 5])
    assert mmd(clean, corrupted, test).item() == pytest.approx(1 / mean_square)

    rows = np.array([0.0, 2, 4, 1, 5])
    squared = (rows[:, None] - rows[None]) ** 2
    middle = np.sort(squared[np.triu_indices(5, 1)])[4]
    kernel = np.exp(-squared / (2 * middle))
    expected = kernel[:3, :3].mean() + kernel[3:, 3:].mean() - 2 * kernel[:3, 3:].mean()
    value = mmd(clean, corrupted, test, kernel="gaussian", normalise=False)
    assert value.item() == pytest.approx(expected)
    # The bandwidth follows the data, so the normalisation changes nothing here.
    assert mmd(clean, corrupted, test, kernel="gaussian").item() == pytest.approx(expected)


@pytest.mark.parametrize("kernel", ["linear", "gaussian"])
def test_mean_discrepancy_vanishes_for_equal_sets(kernel):
    rows = normal(6, 3)
    assert mmd(rows[:3], rows[3:], rows, kernel=kernel).item() == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="gaussian"):
        mmd(rows, rows, rows, kernel="laplace")  # type: ignore[arg-type]


# ------------------------------------------------------------------ dispersion


def test_score_variance_by_hand():
    scores = torch.tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]])
    assert score_variance(scores).tolist() == [7.0, 0.0]
    assert score_variance(scores).dtype == torch.float64
    assert score_variance(scores[:, :1]).isnan().all()


def test_standardised_variance_is_that_of_standardised_scores():
    scores, held_out = normal(3, 9) * 4 + 1, normal(3, 7, seed=1) * 2
    mean, spread = held_out.mean(1, keepdim=True), held_out.std(1, keepdim=True)
    expected = ((scores - mean) / spread).var(1)
    assert torch.allclose(score_variance_standardised(scores, held_out), expected)


def test_standardising_by_nothing_gives_no_number():
    flat = torch.full((1, 5), 0.7)
    almost = flat.clone()
    almost[0, 0] += 1e-7
    scores = torch.rand(1, 6)
    for held_out in (flat, almost, flat[:, :1], flat[:, :0], torch.zeros(1, 4)):
        assert score_variance_standardised(scores, held_out).isnan().all()


# ------------------------------------------------------------------ AUROC


@pytest.mark.parametrize("levels", [2, 7, 10**6])
def test_auroc_is_that_of_sklearn(levels):
    generator = torch.Generator().manual_seed(levels)
    positives = torch.randint(0, levels, (6, 23), generator=generator).float() + levels / 5
    negatives = torch.randint(0, levels, (6, 31), generator=generator).float()
    labels = [1] * 23 + [0] * 31
    expected = [
        roc_auc_score(labels, torch.cat((p, n)).numpy())
        for p, n in zip(positives, negatives, strict=True)
    ]
    assert np.allclose(auroc(positives, negatives).numpy(), expected, atol=1e-12)


def test_auroc_without_one_class_is_undefined():
    scores = torch.rand(2, 4)
    assert auroc(scores, scores[:, :0]).isnan().all()
    assert auroc(scores[:, :0], scores).isnan().all()
    spoilt = scores.clone()
    spoilt[0, 1] = math.nan
    assert auroc(spoilt, scores).isnan().tolist() == [True, False]
    assert auroc(scores, scores).tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match=r"\[S, P\]"):
        auroc(scores, scores[:1])
