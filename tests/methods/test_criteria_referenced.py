"""Synthetic validation, and a fixed detector that is believed as far as it finds defects itself."""

from __future__ import annotations

import math

import pytest
import torch

from methods.criteria.contract import Evidence
from methods.criteria.reference import agreed_score_variance, unusualness
from methods.criteria.referenced import reference_validation, referenced
from methods.criteria.registry import get_criterion
from methods.criteria.synthetic import family_aurocs
from tests.methods.evidences import changed, evidence

NAME = "referenced_synthetic_validation"


def seen(size: float) -> Evidence:
    """Defects that lie `size` away in the fixed embedding; half of the batch lies a little off."""
    given = evidence(settings=2)
    normal, test = torch.zeros(12, 1), torch.arange(20.0)[:, None] / 20
    normal[::2], normal[1::2] = -1, 1
    rows = {"normal_appearance": normal, "test_appearance": test}
    return changed(given, **rows, synthetic_appearance=torch.full((30, 1), size))


def test_the_sum_by_hand() -> None:
    validation = torch.tensor([0.6, 0.7, math.nan])
    agreement = torch.tensor([1.0, -0.5, 0.3])
    assert referenced(validation, agreement, 0.9)[:2].tolist() == pytest.approx([1.0, 0.5])
    assert referenced(validation, agreement, 0.9)[2].isnan()
    for unknown in (0.5, 0.2, math.nan):
        assert torch.equal(referenced(validation, agreement, unknown)[:2], validation[:2])
    assert referenced(validation[:1], torch.tensor([math.nan]), 0.9).tolist() == pytest.approx(
        [0.6]
    )


def test_the_reference_is_judged_on_defects_of_the_batch_alone() -> None:
    assert reference_validation(seen(5.0)) == 1 and reference_validation(seen(0.0)) < 0.5
    given = seen(5.0)
    appearance = given.synthetic_appearance
    assert appearance is not None
    elsewhere = torch.where(given.synthetic_on_test[:, None], appearance, 0 * appearance)
    assert reference_validation(changed(given, synthetic_appearance=elsewhere)) == 1
    nowhere = changed(given, synthetic_on_test=torch.zeros(30, dtype=torch.bool))
    assert math.isnan(reference_validation(nowhere))
    assert math.isnan(reference_validation(changed(given, test_appearance=None)))


def test_who_ranks_the_batch_as_a_good_reference_does_is_preferred() -> None:
    for size, gain in ((5.0, 0.5), (0.0, 0.0)):
        given = seen(size)
        assert given.normal_appearance is not None and given.test_appearance is not None
        order = unusualness(given.normal_appearance, given.test_appearance)
        given = changed(given, test_scores=torch.stack((order, -order)))
        plain = get_criterion("synthetic_validation").evaluate(given)
        found = get_criterion(NAME).evaluate(given)
        assert (found - plain).tolist() == pytest.approx([gain, -gain])


def test_a_reference_detector_takes_the_place_of_the_fixed_embedding() -> None:
    given = evidence()
    own = given.test_scores[1]
    known = changed(given, test_reference=own, synthetic_reference=given.synthetic_scores[1])
    agreement = get_criterion("reference_agreement").evaluate(known)
    assert agreement[1] == pytest.approx(1) and bool((agreement[[0, 2]] < 1).all())
    inverted = changed(known, test_reference=-own)
    assert get_criterion("reference_agreement").evaluate(inverted)[1] == pytest.approx(-1)
    validation = float(family_aurocs(known, on_test=True)[:, 1].nanmean())
    assert reference_validation(known) == pytest.approx(validation)
    # With scores of the batch alone there is nothing to trust it by.
    blind = changed(known, synthetic_reference=None)
    joint = get_criterion("referenced_synthetic_validation").evaluate(blind)
    assert bool(joint.isnan().all())


def test_variance_counts_as_far_as_the_reference_agrees_with_it() -> None:
    reference = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    same, half = torch.tensor([0.0, 1, 2, 3, 4]), torch.tensor([0.0, 1, 4, 2, 3])
    held_out = torch.tensor([[0.0, 2.0]]).expand(4, -1)  # variance 2
    scores = torch.stack((same, half, same.flip(0), 3 * same + 7))
    # Variance 2.5 each, 22.5 of the last; Spearman 1, 1 - 6 * 6 / (5 * 24), -1 and 1.
    found = agreed_score_variance(scores, held_out, reference)
    assert found.tolist() == pytest.approx([1.25, 1.25 * 0.7, 0.0, 11.25])
    unknown = agreed_score_variance(torch.ones(1, 5), held_out[:1], reference)
    assert bool(unknown.isnan().all())
