"""The bootstrap over images."""

from __future__ import annotations

import dataclasses

import torch

from methods.criteria.dispersion import score_variance
from methods.criteria.registry import criterion_names, get_criterion
from methods.criteria.resampling import resample, resampled_values
from tests.methods.evidences import changed, evidence


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_synthetic_images_go_along_with_their_bases() -> None:
    given = evidence()
    # Each image is told by its score: bases 0 to 19 on the batch, 100 to 111 held out.
    marked = changed(
        given,
        test_scores=torch.arange(20.0)[None],
        held_out_scores=100 + torch.arange(12.0)[None],
        synthetic_scores=(given.synthetic_base + 100 * ~given.synthetic_on_test)[None] * 1.0,
        noise_scores=None,
    )
    drawn = resample(marked, seeded())
    assert drawn.test_scores.shape == (1, 20) and drawn.held_out_scores.shape == (1, 12)
    for on_test, bases in ((True, drawn.test_scores), (False, drawn.held_out_scores)):
        own = drawn.synthetic_on_test == on_test
        assert torch.equal(bases[0, drawn.synthetic_base[own]], drawn.synthetic_scores[0, own])
    # As often as its base was drawn.
    counts = (drawn.test_scores[0, :, None] == torch.arange(20.0)).sum(0)
    expected = counts[given.synthetic_base[given.synthetic_on_test]].sum()
    assert int(drawn.synthetic_on_test.sum()) == int(expected)
    assert len(drawn.synthetic_family) == drawn.synthetic_scores.shape[1]


def test_no_part_of_the_evidence_is_forgotten() -> None:
    """Whatever holds a value or a row an image must be drawn with it."""
    generator = seeded(1)
    reference, pasted = (torch.rand(count, generator=generator) for count in (20, 30))
    given = changed(evidence(), test_reference=reference, synthetic_reference=pasted)
    drawn = resample(given, seeded())
    for field in dataclasses.fields(given):
        if field.name != "families":
            assert not torch.equal(getattr(given, field.name), getattr(drawn, field.name)), field


def test_every_criterion_can_be_resampled_and_repeats_with_its_generator() -> None:
    for name in criterion_names():
        criterion = get_criterion(name)
        values = resampled_values(criterion, evidence(), 1, 6, seeded())
        assert values.shape == (6,) and values.isfinite().all(), name
        again = resampled_values(criterion, evidence(), 1, 6, seeded())
        assert torch.equal(values, again)
        assert values.std() > 0, name


def test_the_spread_is_that_of_the_statistic() -> None:
    scores = torch.randn(1, 400, generator=seeded(3), dtype=torch.float64)
    given = changed(evidence(1), test_scores=scores, test_embeddings=torch.zeros(400, 4))
    given = changed(given, test_appearance=None)
    values = resampled_values(get_criterion("score_variance"), given, 0, 200, seeded())
    # The variance of a normal sample of n has a standard deviation of s2 sqrt(2 / (n - 1)).
    expected = float(score_variance(scores)[0]) * (2 / 399) ** 0.5
    assert 0.8 * expected < float(values.std()) < 1.25 * expected


def test_detectors_share_their_draws() -> None:
    given = evidence()
    shifted = changed(given, test_scores=given.test_scores * 2)
    one, other = (
        resampled_values(get_criterion("score_variance"), each, 0, 5, seeded())
        for each in (given, shifted)
    )
    assert torch.allclose(other, 4 * one)
