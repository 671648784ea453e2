"""The self-tuned detector, and where its learning starts."""

from __future__ import annotations

import math

import pytest
import torch

from methods.augmentation import augmentation_names, get_augmentation
from methods.contract import TrialData, unit
from methods.hypergradient.outer_step import TunedVector
from methods.hyperparameter import complete
from methods.self_tuning.starting_point import (
    as_start,
    coordinates_of,
    initial_hyperparameters,
    public_values,
    start_vector,
)
from tests.methods.self_tuning_toys import METHOD, SIZE, TINY, run, striped
from tests.methods.stripes import generator


@pytest.fixture(scope="module")
def data() -> TrialData:
    return striped()


def test_a_restored_detector_gives_the_same_scores(data: TrialData) -> None:
    images, grid = unit(data.test), [{"density_score": "nll"}, {"density_score": "mahalanobis"}]
    for values in ({}, {"norm": "group", "unit_embedding": False}):
        detector = run(data, **values)[-1].detector
        restored = METHOD.restore({**TINY, **values}, detector.weights())
        rows = detector.grid_scores(images, grid)
        assert torch.equal(rows, restored.grid_scores(images, grid))
        assert torch.equal(detector.embed(images), restored.embed(images))
        assert rows.shape == (2, 10) and rows.dtype == torch.float32
        assert torch.equal(rows[1], detector.scores(images, {}))
        lengths = detector.embed(images).norm(dim=1)
        assert torch.allclose(lengths, torch.ones(10)) == (values == {})


def test_both_scores_rank_alike_and_images_do_not_know_of_each_other(data: TrialData) -> None:
    detector = run(data)[-1].detector
    images = unit(data.test)
    nll, distance = detector.grid_scores(
        images, [{"density_score": "nll"}, {"density_score": "mahalanobis"}]
    )
    assert torch.equal(nll.argsort(), distance.argsort())
    torch.testing.assert_close(nll - nll[0], (distance.square() - distance[0].square()) / 2)
    torch.testing.assert_close(detector.scores(images[4:6], {}), distance[4:6])
    with pytest.raises(ValueError, match="'maha', but must be one of: mahalanobis, nll"):
        detector.scores(images, {"density_score": "maha"})


def test_corrupt_shows_the_augmentation_that_it_is_given(data: TrialData) -> None:
    clean, changed = METHOD.corrupt(data, TINY, 7, generator(1))
    again = METHOD.corrupt(data, TINY, 7, generator(1))
    assert torch.equal(clean, again[0]) and torch.equal(changed, again[1])
    assert clean.shape == changed.shape == (7, 3, *SIZE)
    larger = METHOD.corrupt(data, {**TINY, **as_start({"size": 0.5})}, 7, generator(1))[1]
    assert (clean - larger).sum() > (clean - changed).sum() > 0
    assert METHOD.families(TINY) == {"cutdiff", "stain"}


@pytest.mark.parametrize("name", augmentation_names(differentiable=True))
def test_public_names_lead_back_to_the_vector(name: str) -> None:
    augmentation = get_augmentation(name)
    defaults = complete(METHOD.hyperparameters, {})
    vector = start_vector(augmentation, defaults, (64, 64))
    expected = augmentation.project(augmentation.vector(), (64, 64))
    torch.testing.assert_close(vector, expected, rtol=1e-6, atol=1e-9)
    moved = augmentation.sample((64, 64), generator(2))
    values = {**defaults, **as_start(public_values(augmentation, moved))}
    back = start_vector(augmentation, complete(METHOD.hyperparameters, values), (64, 64))
    torch.testing.assert_close(back, moved, rtol=1e-6, atol=1e-6)
    names = [c.name for c in coordinates_of(augmentation)]
    assert len(set(names)) == len(names) == len(augmentation.names)


def test_the_four_starts_of_the_paper_are_sibling_trials() -> None:
    siblings = METHOD.starts({"steps": 5})  # type: ignore[attr-defined]
    assert [s["initial_size"] for s in siblings] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert all(s["steps"] == 5 for s in siblings)
    turned = METHOD.starts({"augmentation": "rotation"})  # type: ignore[attr-defined]
    degrees = [math.degrees(s["initial_rotation_angle"]) for s in turned]
    assert degrees == pytest.approx([45, 135, 225, 315])
    for name in augmentation_names(differentiable=True):
        for start in METHOD.starts({"augmentation": name}):  # type: ignore[attr-defined]
            complete(METHOD.hyperparameters, start)


def test_names_are_declared_once_and_have_no_dots() -> None:
    names = [p.name for p in METHOD.hyperparameters]
    assert len(names) == len(set(names))
    assert all(p.name.startswith("initial_") for p in initial_hyperparameters())
    assert not any("." in name or "-" in name for name in names)


def test_a_start_too_small_to_show_is_moved_to_what_can_be_shown() -> None:
    augmentation = get_augmentation("cutdiff")
    values = complete(METHOD.hyperparameters, {"initial_size": 1e-4})
    small = public_values(augmentation, start_vector(augmentation, values, SIZE))["size"]
    assert small == pytest.approx((0.5 / 16) ** 2)
    large = public_values(augmentation, start_vector(augmentation, values, (256, 256)))["size"]
    assert large == pytest.approx(1e-4)


def test_the_outer_step_keeps_to_its_length_and_to_the_bounds() -> None:
    augmentation = get_augmentation("cutdiff-cholesky")
    tuned = TunedVector(augmentation, augmentation.vector(), (64, 64), rate=0.1)
    tuned.move(torch.tensor([3.0, -0.5, 0.0]))
    # In units of the usual ranges 0.29, 0.2 and 0.29 the gradient is 0.87, -0.1, 0; the first step
    # has the length of the rate, and goes where the gradient does.
    length = math.hypot(0.87, 0.1)
    step = [-0.1 * 0.29 * 0.87 / length, 0.1 * 0.2 * 0.1 / length, 0.0]
    expected = [start + part for start, part in zip((0.1, 0.0, 0.1), step, strict=True)]
    torch.testing.assert_close(tuned.vector.tolist(), expected)
    torch.testing.assert_close(tuned.place.tolist(), [-0.87 / length, 0.1 / length, 0.0])
    for _ in range(80):
        tuned.move(torch.tensor([-1.0, 0.0, 1.0]))
    augmentation.check(tuned.vector, (64, 64))
    assert tuned.vector[0] > 1
    # Against a bound nothing is gone, round a period it is.
    place = tuned.place[2].item()
    tuned.move(torch.tensor([0.0, 0.0, 1.0]))
    assert tuned.place[2].item() == pytest.approx(place, abs=1e-3)
    rotation = get_augmentation("rotation")
    turned = TunedVector(rotation, rotation.vector({"angle": 0.05}), (64, 64), rate=0.1)
    turned.move(torch.tensor([1.0]))
    assert turned.vector.item() == pytest.approx(2 * math.pi - 0.05)
    assert turned.place.item() == pytest.approx(-1.0)


def test_a_parameter_that_the_loss_hardly_knows_hardly_moves() -> None:
    augmentation = get_augmentation("cutdiff")
    tuned = TunedVector(augmentation, augmentation.vector(), (64, 64), rate=0.1)
    for sign in (1, -1, 1, 1, -1, 1):
        tuned.move(torch.tensor([1.0, 0.01 * sign, 0.0]))
    assert abs(tuned.place[0]) > 5 and abs(tuned.place[1]) < 0.1
