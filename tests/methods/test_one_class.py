"""The controls: the same contract as any method, and what sets each apart."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from methods.contract import Context, Diverged, Progress, TrialData, unit
from methods.one_class.autoencoder import levels_of
from methods.one_class.deep_svdd import build_trunk, centre_of
from methods.registry import get_method
from methods.training.schedule import cosine
from tests.methods.stripes import waves

SIZE = (16, 16)
NAMES = ("random-static", "random-dynamic", "deep-svdd", "ae")
TINY: dict[str, Any] = {"width": 4, "batch_size": 4, "steps": 6}


@pytest.fixture(scope="module")
def data() -> TrialData:
    test = waves(8, 2)
    test[4:, :, 4:11, 4:11] = 0
    return TrialData(waves(12, 0), waves(4, 1), test)


def run(
    name: str, data: TrialData, context: Context | None = None, **values: Any
) -> list[Progress]:
    return list(get_method(name).fit(data, {**TINY, **values}, context or Context(rungs=2)))


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_and_a_resumed_trial_give_the_same(data: TrialData, name: str) -> None:
    whole = run(name, data, Context(seed=2, rungs=3))
    assert [p.rung for p in whole] == [1, 2, 3]
    first = next(get_method(name).fit(data, TINY, Context(seed=2, rungs=3)))
    assert same(first.detector.weights(), whole[0].detector.weights())
    state = copy.deepcopy(first.state())
    resumed = run(name, data, Context(seed=2, rungs=3, resume=state))
    assert [p.train_loss for p in resumed] == [p.train_loss for p in whole[1:]]
    assert [p.diagnostics for p in resumed] == [p.diagnostics for p in whole[1:]]
    assert same(resumed[-1].detector.weights(), whole[-1].detector.weights())
    assert not same(run(name, data)[-1].detector.weights(), whole[-1].detector.weights())


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_detector_gives_the_same_scores(data: TrialData, name: str) -> None:
    detector = run(name, data)[-1].detector
    restored = get_method(name).restore(TINY, detector.weights())
    images = unit(data.test)
    scores = detector.scores(images, {})
    assert scores.shape == (8,) and not scores.requires_grad
    assert torch.equal(scores, restored.scores(images, {}))
    assert torch.equal(detector.grid_scores(images, [{}, {}])[1], scores)
    assert torch.equal(detector.embed(images), restored.embed(images))
    torch.testing.assert_close(detector.scores(images[3:5], {}), scores[3:5])


@pytest.mark.parametrize("name", NAMES)
def test_faults_are_refused(data: TrialData, name: str) -> None:
    with pytest.raises(ValueError, match="number of rungs, 7"):
        run(name, data, Context(rungs=7))
    with pytest.raises(ValueError, match="learning_rate"):
        run(name, data, learning_rate=5.0)
    with pytest.raises(ValueError, match=r"2 images a worker|multiple of the 3"):
        run(name, data, Context(rungs=1, world_size=3))
    state = run(name, data)[0].state()
    for value in state["network"].values():
        if value.is_floating_point():
            value.fill_(math.nan)
    with pytest.raises(Diverged, match="nan at step 4"):
        run(name, data, Context(rungs=2, resume=state))


@pytest.mark.parametrize("augmentation", ["cutout", "cutpaste", "cutdiff", "rotation"])
def test_static_keeps_its_augmentation_and_dynamic_does_not(
    data: TrialData, augmentation: str
) -> None:
    drawn = {}
    for name in ("random-static", "random-dynamic"):
        drawn[name] = [
            p.diagnostics for p in run(name, data, Context(rungs=2), augmentation=augmentation)
        ]
    assert drawn["random-static"][0] == drawn["random-static"][1]
    assert drawn["random-dynamic"][0] != drawn["random-dynamic"][1]
    keys = {key for d in drawn.values() for one in d for key in one}
    assert keys and all(key.startswith("augmentation.") for key in keys)


def test_random_augmentation_learns_to_tell(data: TrialData) -> None:
    values = {"steps": 40, "batch_size": 8, "augmentation": "cutout", "stem": "large"}
    progress = run("random-static", data, Context(rungs=4), **values)
    assert progress[-1].train_loss < 0.5 * progress[0].train_loss
    scores = progress[-1].detector.scores(unit(data.test), {})
    assert scores[4:].min() > scores[:4].max()


def test_deep_svdd_pulls_normal_images_to_its_centre(data: TrialData) -> None:
    progress = run("deep-svdd", data, Context(rungs=4), steps=24, learning_rate=3e-3)
    assert progress[-1].train_loss < progress[0].train_loss
    full = {"width": 4, "stem": "auto"}
    trunk = build_trunk(full, SIZE, seed=0)
    biases = [m.bias for m in trunk.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(not b.requires_grad and not b.any() for b in biases)
    centre = centre_of(trunk, data.train)
    assert centre.shape == (32,) and centre.abs().min() >= 0.1
    weights = progress[-1].detector.weights()
    assert not any(weights[k].any() for k in weights if "norm.bias" in k)


def test_the_autoencoder_reconstructs_and_localises(data: TrialData) -> None:
    values = {"steps": 60, "batch_size": 8, "learning_rate": 1e-2, "code": 16}
    progress = run("ae", data, Context(rungs=3), **values)
    assert progress[-1].train_loss < 0.7 * progress[0].train_loss
    detector, images = progress[-1].detector, unit(data.test)
    again = detector.reconstruct(images)
    assert again.shape == images.shape and again.min() >= 0 and again.max() <= 1
    scores = detector.scores(images, {})
    squares = (images - again).square().mean(1).sum((1, 2))
    torch.testing.assert_close(scores / scores[0], squares / squares[0], rtol=1e-3, atol=1e-4)
    maps = detector.maps(images, {})
    assert maps.shape == (8, 16, 16)
    assert maps[4:, 4:11, 4:11].mean() > 2 * maps[:4].mean()
    assert levels_of((16, 32)) == 2
    with pytest.raises(ValueError, match="multiples of 8"):
        levels_of((36, 40))
    with pytest.raises(ValueError, match="at least 8"):
        levels_of((4, 4))


def test_what_is_corrupted(data: TrialData) -> None:
    generator = torch.Generator().manual_seed(1)
    for name in ("deep-svdd", "ae"):
        clean, corrupted = get_method(name).corrupt(data, TINY, 5, generator)
        assert torch.equal(clean, corrupted) and get_method(name).families(TINY) == frozenset()
    values = {**TINY, "augmentation": "cutpaste"}
    clean, corrupted = get_method("random-static").corrupt(data, values, 5, generator)
    assert clean.shape == corrupted.shape and not torch.equal(clean, corrupted)
    assert get_method("random-static").families(values) >= {"cutpaste", "patch", "stain"}


def test_the_rate_falls_to_zero() -> None:
    assert cosine(0, 10) == 1 and cosine(5, 10) == pytest.approx(0.5)
    assert cosine(10, 10) == pytest.approx(0)
