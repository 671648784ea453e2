"""Several detectors as one: ranks without a batch, and maps that share their levels."""

from __future__ import annotations

import math

import pytest
import torch

from methods.contract import unit
from methods.criteria.aggregation import ensemble_scores
from methods.ensemble import MapScale, Member, ScoreScale, ensemble_of, restore_ensemble
from methods.registry import get_method
from methods.state import move
from tests.methods import conformance
from tests.registry.toys import DistanceDetector, ScoreOnly

SIZE = (12, 20)


def images(count: int, seed: int = 0) -> torch.Tensor:
    """Noise of different brightness."""
    generator = torch.Generator().manual_seed(seed)
    light = torch.rand(count, 1, 1, 1, generator=generator)
    return (255 * light * torch.rand(count, 3, *SIZE, generator=generator)).to(torch.uint8)


def detectors() -> list[tuple[DistanceDetector | ScoreOnly, dict[str, str]]]:
    means = torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    return [
        (DistanceDetector(means[0], 1.0), {"pooling": "max"}),
        (DistanceDetector(means[1], 50.0), {"pooling": "mean"}),
        (ScoreOnly(means[2]), {}),
    ]


def members(reference: torch.Tensor) -> list[Member]:
    return [Member.of(each, scoring, reference)[0] for each, scoring in detectors()]


def test_a_scale_gives_the_shares_of_its_reference_and_grows_beyond_it() -> None:
    scale = ScoreScale.of(torch.tensor([3.0, 1.0, 2.0, 2.0, 5.0]))
    found = scale(torch.tensor([1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 8.0, -1.0]))
    above = 0.9 + 0.1 * math.log(1 + 3 / (5 - 2))
    below = 0.1 - 0.1 * math.log(1 + 2 / (2 - 1))
    assert found.tolist() == pytest.approx([0.1, 0.4, 0.55, 0.7, 0.8, 0.9, above, below])


def test_any_scores_keep_their_order_and_no_score_is_equal_to_another() -> None:
    reference = torch.randn(200, generator=torch.Generator().manual_seed(0)).exp()
    scale = ScoreScale.of(reference)
    grid = torch.linspace(-5, 3 * float(reference.max()), 3000)
    assert bool((scale(grid).diff() > 0).all())
    # Scores in another unit have the same shares.
    assert torch.allclose(ScoreScale.of(1e-3 * reference)(1e-3 * grid), scale(grid), atol=1e-4)


@pytest.mark.parametrize("reference", [[2.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 4.0]])
def test_references_without_spread_still_order(reference: list[float]) -> None:
    found = ScoreScale.of(torch.tensor(reference))(torch.tensor([-3.0, 0.5, 1.5, 5.0, 9.0]))
    assert bool(found.isfinite().all()) and bool((found.diff() > 0).all())


def test_scores_that_differ_by_rounding_alone_get_no_ranks_between_them() -> None:
    spread = torch.arange(10.0)
    scale = ScoreScale.of(torch.cat((spread, 4 + 1e-6 * torch.arange(20))))
    assert len(scale.knots) == 10
    assert len(ScoreScale.of(torch.rand(5000, generator=torch.manual_seed(0))).knots) <= 1026
    alike = scale(torch.tensor([4.0, 4 + 1e-5]))
    assert float(alike.diff()) < 1e-5
    # The mean share of all that are nearly 4: from 4.5 to 24 of 30.
    assert float(alike[0]) == pytest.approx((5 + 24.5) / 2 / 30, abs=0.02)
    with pytest.raises(ValueError, match="1 of 2 reference scores are not finite"):
        ScoreScale.of(torch.tensor([1.0, math.nan]))


def test_the_ranks_of_a_batch_are_averaged_and_an_image_alone_gets_the_same() -> None:
    reference, batch = images(40), unit(images(40))
    joint = ensemble_of(members(reference))
    rows = torch.stack([each.scores(batch, scoring) for each, scoring in detectors()])
    found = joint.scores(batch, {})
    assert found.tolist() == pytest.approx(ensemble_scores(rows).tolist(), abs=5e-3)
    alone = torch.cat([joint.scores(batch[i : i + 1], {}) for i in range(5)])
    assert torch.allclose(alone, found[:5], atol=1e-6)
    assert torch.equal(joint.grid_scores(batch, [{}, {}]), torch.stack((found, found)))


def test_maps_are_the_mean_of_those_there_are_at_common_levels() -> None:
    reference = images(8)
    joint, batch = ensemble_of(members(reference)), unit(images(3, seed=4))
    assert hasattr(joint, "maps")
    one, other = (each.maps(batch, {}) for each, _ in detectors()[:2])
    levels = [MapScale.of(each.maps(unit(reference), {})).levels for each, _ in detectors()[:2]]
    moved = levels[0][0] + (other - levels[1][0]) * levels[0].diff() / levels[1].diff()
    assert torch.allclose(joint.maps(batch, {}), (one + moved) / 2, atol=1e-4)
    assert torch.equal(joint.one_pass({})(batch)[1], joint.maps(batch, {}))
    silent = ensemble_of([members(reference)[2]] * 2)
    assert not hasattr(silent, "maps") and len(silent.one_pass({})(batch)) == 1
    assert MapScale.of(torch.full((9,), 0.5)).levels.tolist() == [0.5, 1.5]


def test_weights_restore_the_same_ensemble_and_all_of_it_moves() -> None:
    joint, batch = ensemble_of(members(images(8))), unit(images(3, seed=4))
    again = restore_ensemble(detectors(), joint.weights())
    assert torch.equal(again.scores(batch, {}), joint.scores(batch, {}))
    move(again, torch.device("meta"))
    for member in again.members:
        tensors = [member.detector.mean, member.score_scale.knots, member.score_scale.tails]
        tensors += [] if member.map_scale is None else [member.map_scale.levels]
        assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_statistics_of_maps_move_with_their_detector() -> None:
    (last,) = conformance.fitted(get_method("filter-memory"), conformance.images((16, 16)), rungs=1)
    detector = last.detector
    move(detector, torch.device("meta"))
    [found] = detector.statistics.values()  # type: ignore[attr-defined]
    assert found.mean.device.type == found.spread.device.type == "meta"


def test_detectors_of_any_methods_judge_together() -> None:
    data, made = conformance.images((32, 32)), []
    reference = torch.cat((data.test, data.held_out))
    for name in ("fae", "st-ssad", "energy-projection", "filter-memory"):
        method = get_method(name)
        [progress] = conformance.fitted(method, data, rungs=1)
        scoring = conformance.grid_of(method)[0]
        weights = progress.detector.weights()
        restored = method.restore(conformance.small(method), weights)
        made.append((restored, scoring))
    joint = ensemble_of([Member.of(*each, reference)[0] for each in made])
    again = restore_ensemble(made, joint.weights())
    with torch.inference_mode():
        scores, maps = again.one_pass({})(unit(data.test))
        [alone, _] = joint.one_pass({})(unit(data.test[5:6]))
    assert scores.shape == (8,) and maps.shape == (8, 32, 32)
    assert bool(maps.isfinite().all()) and float(alone) == pytest.approx(float(scores[5]), abs=2e-3)
    # The patched half stands above the clean one, whoever is weak among the members.
    assert float(scores[4:].mean()) > float(scores[:4].mean())
    assert joint.one_pass({}).obstacle.startswith("member ")


def test_one_or_too_many_are_no_ensemble() -> None:
    for count in (1, 33):
        with pytest.raises(ValueError, match=f"an ensemble of {count} .* has 2 to 32 members"):
            ensemble_of([members(images(2))[2]] * count)
