"""What a self-tuned training warns of and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from methods.augmentation import get_augmentation
from methods.contract import Context, Diverged, TrialData
from methods.criteria.alignment import collapse_threshold
from methods.hypergradient.derivative import VanishedGradient
from methods.self_tuning.guards import (
    anomaly_share,
    bounds_reached,
    change,
    comparable,
    warnings,
)
from methods.training.batches import Batch, WholeSets
from tests.methods.self_tuning_toys import METHOD, SIZE, TINY, run, striped, tuning
from tests.methods.stripes import generator


@pytest.fixture(scope="module")
def data() -> TrialData:
    return striped()


def mixed(share: float, apart: float, count: int = 200) -> Tensor:
    draws = generator(3)
    scores = 5 + torch.randn(count, generator=draws)
    scores[: round(share * count)] += apart
    return scores


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_the_share_of_anomalies_is_found_where_scores_stand_apart(share: float) -> None:
    assert anomaly_share(mixed(share, 12.0)) == pytest.approx(share, abs=0.04)


def test_no_share_is_made_up() -> None:
    assert anomaly_share(mixed(0.0, 0.0)) is None
    assert anomaly_share(torch.ones(50)) is None
    assert anomaly_share(torch.arange(5.0)) is None
    assert anomaly_share(torch.full((20,), math.nan)) is None


def test_bounds_and_changes_are_noticed() -> None:
    augmentation = get_augmentation("cutdiff-signed")
    inside = augmentation.vector({"log_size": math.log(0.05)})
    assert bounds_reached(augmentation, inside, SIZE) == {}
    edge = augmentation.project(augmentation.vector({"log_size": -11.0, "amplitude": 1.0}), SIZE)
    assert bounds_reached(augmentation, edge, SIZE) == {"size": -1, "amplitude": 1}
    images = torch.full((4, 3, *SIZE), 0.5)
    batch = Batch(images, augmentation.draw(4, SIZE, generator()))
    share, total = change(augmentation, edge, batch)
    assert 0 < share < 0.05 and total < 1
    wide = augmentation.vector({"log_size": 0.0, "amplitude": 0.5})
    share, total = change(augmentation, wide, batch)
    assert share > 0.9 and 50 < total <= 128
    assert change(augmentation, augmentation.vector({"amplitude": 0.0}), batch) == (0.0, 0.0)


def test_warnings_say_what_is_wrong() -> None:
    fine = {
        "anomaly_share": 0.4,
        "collapse_threshold": 0.305,
        "warm_loss": 0.2,
        "change": 9.0,
        "changed_share": 0.1,
        "embedding_spread": 0.1,
    }
    assert warnings(fine) == [] == warnings({})
    bad = {
        "anomaly_share": 0.1,
        "warm_loss": 0.69,
        "change": 0.1,
        "changed_share": 0.99,
        "at_bound_size": -1.0,
        "embedding_spread": 1e-9,
    }
    said = warnings({**fine, **bad})
    parts = ("30%", "0.69", "vanished", "99%", "size lies at its lower bound", "collapsed")
    assert len(said) == len(parts)
    assert all(part in sentence for part, sentence in zip(parts, said, strict=True))


def test_what_has_not_learned_or_collapsed_is_not_compared() -> None:
    assert comparable({}) and comparable({"warm_loss": 0.4, "embedding_spread": 0.1})
    assert not comparable({"warm_loss": 0.69, "embedding_spread": 0.1})
    assert not comparable({"warm_loss": 0.4, "embedding_spread": 1e-9})


def test_a_trial_reports_its_guards(data: TrialData) -> None:
    last = run(data, initial_size=1e-5, tuning_rate=1e-4, test_batch_size=2)[-1]
    assert last.diagnostics["collapse_threshold"] == pytest.approx(collapse_threshold(4, 4, 2))
    assert last.diagnostics["at_bound_size"] == -1
    assert last.diagnostics["warm_loss"] > 0.6
    assert any(
        "size lies at its lower bound" in sentence for sentence in warnings(last.diagnostics)
    )


# Faults.


def test_a_training_that_is_not_finite_is_divergence(data: TrialData) -> None:
    state = run(data)[0].state()
    state["network"]["head.6.bias"].fill_(math.nan)
    with pytest.raises(Diverged, match="training loss is nan"):
        run(data, Context(rungs=2, resume=state))


def test_a_validation_loss_that_is_not_finite_is_divergence(data: TrialData) -> None:
    training = tuning(data, warm_share=0.0)
    training.batches.test_at = lambda step: torch.full((4, 3, *SIZE), math.nan)  # type: ignore[method-assign]
    with pytest.raises(Diverged, match="validation loss is nan"):
        training.step()


def test_a_look_at_the_whole_sets_that_is_not_finite_is_divergence(data: TrialData) -> None:
    training = tuning(data, warm_share=0.0, steps=2)
    training.step()
    whole = training.batches.whole()
    training._whole = WholeSets(whole.train, whole.draw, whole.test * math.nan)
    with pytest.raises(Diverged, match="validation loss is nan"):
        training.step()


def test_images_that_cannot_change_are_an_error_and_not_a_rest(data: TrialData) -> None:
    black = TrialData(data.train * 0, data.held_out, data.test)
    training = tuning(black, warm_share=0.0, norm="group")
    with pytest.raises(VanishedGradient, match="exactly zero"):
        training.step()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"batch_size": 12}, "takes 12 unlabelled images, but there are 10"),
        ({"test_batch_size": 6, "validation": "half"}, "half of the unlabelled images, 5"),
        ({"augmentation": "cutout"}, "augmentation is 'cutout', but must be one of: .*cutdiff"),
        ({"initial_size": 2.0}, r"initial_size is 2.0, but must be a number from 1e-05 to 1"),
        ({"initial_angle": math.nan}, "initial_angle is nan"),
        ({"steps": 1}, "steps is 1, but must be at least the number of rungs, 2"),
        ({"tuned": 1}, "unknown hyperparameter tuned"),
    ],
)
def test_values_that_do_not_fit_are_refused(
    data: TrialData, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        run(data, **values)


def test_images_that_do_not_fit_are_refused(data: TrialData) -> None:
    grey = torch.full_like(data.train, 90)
    with pytest.raises(ValueError, match="all 12 training images are alike"):
        METHOD.check(TrialData(grey, data.held_out, data.test), TINY)
    with pytest.raises(ValueError, match="all 12 unlabelled images are alike"):
        METHOD.check(TrialData(data.train, data.held_out, grey), TINY)
    with pytest.raises(ValueError, match="at least 2"):
        METHOD.check(TrialData(data.train[:1], data.held_out, data.test), TINY)
    with pytest.raises(ValueError, match="multiple of the 3 workers"):
        run(data, Context(rungs=1, world_size=3), norm="group")
