"""Every registered criterion against what it declares of itself."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from methods.criteria.alignment import validation_loss
from methods.criteria.consensus import CONSENSUS
from methods.criteria.contract import Evidence
from methods.criteria.registry import criterion_names, get_criterion, register_criterion
from tests.methods.evidences import SCORES, changed, evidence, normal, with_scores

EVERY = pytest.mark.parametrize("name", criterion_names())
EVERY_CONSENSUS = pytest.mark.parametrize("name", sorted(CONSENSUS))
CHANGES = {
    "shift": lambda scores: scores + 3,
    "scale": lambda scores: scores * 7,
    "monotone": lambda scores: torch.exp(scores / 2),
}
OPTIONAL = {f.name for f in dataclasses.fields(Evidence) if f.default is None}


def test_criteria_are_found_by_name() -> None:
    assert {
        "aligned_synthetic_validation",
        "dsv",
        "expected_anomaly_gap",
        "matched_synthetic_validation",
        "normalised_pseudo_discrepancy",
        "reference_agreement",
        "referenced_synthetic_validation",
        "relative_top_median",
        "resembling_synthetic_validation",
        "score_variance",
        "score_variance_robust",
        "score_variance_standardised",
        "synthetic_validation",
        "validation_loss",
    } <= set(criterion_names())
    assert criterion_names() == sorted(criterion_names())
    with pytest.raises(ValueError, match="synthetic_validation"):
        get_criterion("accuracy")
    with pytest.raises(ValueError, match="already"):
        register_criterion(get_criterion("score_variance"))


@EVERY
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_criterion_is_invariant_to_what_it_declares_and_to_nothing_else(
    name: str, change: str
) -> None:
    criterion = get_criterion(name)
    given = evidence()
    before = criterion.evaluate(given)
    after = criterion.evaluate(with_scores(given, CHANGES[change]))
    assert torch.allclose(before, after) == (change in criterion.invariances)


@EVERY
def test_a_criterion_judges_every_setting_by_itself(name: str) -> None:
    criterion = get_criterion(name)
    given = evidence(settings=4)
    together = criterion.evaluate(given)
    assert together.shape == (4,) and together.dtype == torch.float64
    assert torch.isfinite(together).all()
    assert torch.equal(criterion.evaluate(evidence(settings=4)), together)
    assert criterion.source and criterion.title
    assert criterion.direction in ("minimize", "maximize")
    for i in range(4):
        alone = with_scores(given, lambda scores, i=i: scores[i : i + 1])
        assert torch.allclose(criterion.evaluate(alone), together[i : i + 1])
    same = bool((together == together[0]).all())
    assert same == (not criterion.sees_scoring)


def spoilt(given: Evidence, name: str) -> Any:
    value = getattr(given, name)
    if name in OPTIONAL:
        return None
    if name == "families":
        return ("other",) * len(value)
    return value.flip(-1) + (name.endswith(("scores", "embeddings")))


@EVERY
def test_a_criterion_reads_what_it_needs_and_nothing_else(name: str) -> None:
    criterion = get_criterion(name)
    given = evidence()
    fields = {f.name for f in dataclasses.fields(Evidence)}
    assert criterion.needs <= fields
    others = {field: spoilt(given, field) for field in fields - criterion.needs}
    # How many settings there are is read off the scores of the batch by all.
    others["test_scores"] = others.get("test_scores", given.test_scores)
    assert torch.equal(criterion.evaluate(changed(given, **others)), criterion.evaluate(given))
    for field in criterion.needs & OPTIONAL:
        assert criterion.evaluate(changed(given, **{field: None})).isnan().all()


@EVERY
def test_a_setting_with_a_spoilt_score_has_no_value_and_harms_no_other(name: str) -> None:
    criterion = get_criterion(name)
    given = evidence()
    for field in SCORES:
        scores = getattr(given, field).clone()
        scores[1, 4] = math.nan
        value = criterion.evaluate(changed(given, **{field: scores}))
        expected = criterion.evaluate(given)
        assert torch.equal(value[[0, 2]], expected[[0, 2]])
        assert bool(value[1].isnan()) == (criterion.sees_scoring and field in criterion.needs)


@EVERY
def test_equal_scores_give_no_number_or_that_of_chance(name: str) -> None:
    criterion = get_criterion(name)
    value = criterion.evaluate(with_scores(evidence(), lambda scores: scores * 0 + 0.7))
    chance = {"score_variance": 0.0, "relative_top_median": 0.0}
    if "synthetic_scores" in criterion.needs:
        chance[name] = 0.5
    if criterion.sees_scoring:
        assert value.isnan().all() or torch.allclose(value, torch.tensor(chance[name]).double())


@EVERY
def test_a_criterion_without_evidence_gives_no_number(name: str) -> None:
    given = evidence()
    nothing = changed(
        given,
        test_scores=given.test_scores[:, :1],
        test_appearance=torch.zeros(1, 5),
        synthetic_scores=given.synthetic_scores[:, :0],
        synthetic_on_test=given.synthetic_on_test[:0],
        synthetic_base=given.synthetic_base[:0],
        synthetic_family=given.synthetic_family[:0],
        synthetic_cell=torch.zeros(0, dtype=torch.long),
        synthetic_appearance=torch.zeros(0, 5),
        train_embeddings=torch.ones(2, 3),
        corrupted_embeddings=torch.ones(2, 3),
        test_embeddings=torch.ones(2, 3),
        noise_scores=torch.zeros(3, 1),
    )
    assert get_criterion(name).evaluate(nothing).isnan().all()


@pytest.mark.parametrize("name", ["validation_loss", "dsv"])
def test_a_method_without_corruption_has_no_alignment(name: str) -> None:
    given = evidence()
    plain = changed(given, corrupted_embeddings=given.train_embeddings.clone())
    assert get_criterion(name).evaluate(plain).isnan().all()


def test_the_validation_loss_criterion_is_the_function() -> None:
    given = evidence()
    expected = validation_loss(
        given.train_embeddings, given.corrupted_embeddings, given.test_embeddings
    )
    assert torch.allclose(get_criterion("validation_loss").evaluate(given), expected)


@EVERY_CONSENSUS
def test_a_consensus_sees_order_only_and_treats_all_candidates_alike(name: str) -> None:
    criterion = CONSENSUS[name]
    assert criterion.name == name and criterion.title and criterion.source
    scores = normal(20, seed=1) + 0.5 * normal(6, 20, seed=2)
    value = criterion.evaluate(scores)
    assert value.shape == (6,) and value.dtype == torch.float64
    assert torch.equal(criterion.evaluate(scores), value)
    assert torch.allclose(criterion.evaluate(torch.exp(3 * scores) + 1), value)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    assert torch.allclose(criterion.evaluate(scores[order]), value[order])


@EVERY_CONSENSUS
def test_a_consensus_leaves_out_who_has_no_order(name: str) -> None:
    criterion = CONSENSUS[name]
    scores = normal(20, seed=1) + 0.5 * normal(4, 20, seed=2)
    flat, broken = torch.ones(1, 20), torch.full((1, 20), math.nan)
    value = criterion.evaluate(torch.cat((scores[:2], flat, broken, scores[2:])))
    assert value[2:4].isnan().all()
    assert torch.allclose(value[[0, 1, 4, 5]], criterion.evaluate(scores))
    assert criterion.evaluate(scores[:2]).isnan().all()
    assert criterion.evaluate(scores[:, :1]).isnan().all()
    with pytest.raises(ValueError, match=r"\[T, M\]"):
        criterion.evaluate(scores[0])


@EVERY_CONSENSUS
def test_an_inverted_candidate_is_the_last(name: str) -> None:
    truth = torch.linspace(0, 1, 30).exp()
    scores = truth + 0.1 * normal(7, 30, seed=3)
    scores[4] = -scores[4]
    assert int(CONSENSUS[name].evaluate(scores).argmin()) == 4
