"""A self-tuned training: what moves, what is kept, what is the same however it is run."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from methods.augmentation import augmentation_names, get_augmentation
from methods.contract import Context, TrialData, unit
from methods.hyperparameter import by_name, complete
from methods.self_tuning.starting_point import (
    as_start,
    public_values,
    start_vector,
)
from methods.self_tuning.stopping import SmoothedLoss, StopRule, rule_from, state_of
from tests.methods.self_tuning_toys import METHOD, SIZE, TINY, blotted, run, same, striped, tuning
from tests.methods.stripes import waves


@pytest.fixture(scope="module")
def data() -> TrialData:
    return striped()


def test_the_same_seed_gives_the_same_trial(data: TrialData) -> None:
    one, two = (run(data, Context(seed=4, rungs=3)) for _ in range(2))
    assert [p.rung for p in one] == [1, 2, 3]
    assert [p.train_loss for p in one] == [p.train_loss for p in two]
    assert [p.tuned for p in one] == [p.tuned for p in two]
    assert [p.diagnostics for p in one] == [p.diagnostics for p in two]
    assert same(one[-1].detector.weights(), two[-1].detector.weights())
    other = run(data, Context(seed=5, rungs=3))
    assert other[-1].tuned != one[-1].tuned
    assert all(math.isfinite(v) for p in one for v in p.diagnostics.values())


def test_the_augmentation_rests_in_the_warm_start_and_moves_after_it(data: TrialData) -> None:
    first, *_, last = run(data, Context(rungs=4))
    start = {"size": 0.05, "ratio": 1.2, "angle": 0.3}
    assert first.tuned == pytest.approx(start)
    assert last.diagnostics["tuning_updates"] > 0
    assert all(last.tuned[name] != pytest.approx(value, rel=1e-4) for name, value in start.items())
    # Adam's first steps are at most about the tuning rate, here on a logarithm.
    moved = abs(math.log(last.tuned["size"] / 0.05))
    assert 0 < moved <= 0.021 * last.diagnostics["tuning_updates"]


@pytest.mark.parametrize("name", augmentation_names(differentiable=True))
def test_every_differentiable_augmentation_is_learned_within_its_bounds(
    data: TrialData, name: str
) -> None:
    values = {"augmentation": name, "warm_share": 0.0, "steps": 4, "tuning_rate": 0.5}
    values |= {"initial_size": 0.9}
    last = run(data, Context(rungs=1), **values)[-1]
    declared = by_name(METHOD.hyperparameters)
    augmentation = get_augmentation(name)
    full = complete(METHOD.hyperparameters, {**TINY, **values})
    start = public_values(augmentation, start_vector(augmentation, full, SIZE))
    assert last.tuned.keys() == start.keys()
    assert sum(last.tuned[key] != start[key] for key in start) >= len(start) - 1
    for key, value in as_start(last.tuned).items():
        assert declared[key].validate(value) == value


def test_a_resumed_trial_equals_an_uninterrupted_one(data: TrialData) -> None:
    values = {"steps": 12, "inner_updates": 2}
    whole = run(data, Context(seed=2, rungs=4), **values)
    fit = METHOD.fit(data, {**TINY, **values}, Context(seed=2, rungs=4))
    for rung in (1, 3):
        state = next(p for p in fit if p.rung == rung).state()
        kept = copy.deepcopy(state)
        resumed = run(data, Context(seed=2, rungs=4, resume=state), **values)
        assert [p.rung for p in resumed] == list(range(rung + 1, 5))
        assert [p.train_loss for p in resumed] == [p.train_loss for p in whole[rung:]]
        assert [p.tuned for p in resumed] == [p.tuned for p in whole[rung:]]
        assert [p.diagnostics for p in resumed] == [p.diagnostics for p in whole[rung:]]
        assert same(whole[-1].detector.weights(), resumed[-1].detector.weights())
        assert same(state["network"], kept["network"])
    assert run(data, Context(seed=2, rungs=4, resume=whole[-1].state()), **values) == []


def test_a_rungs_detector_stays_as_it_was(data: TrialData) -> None:
    fit = METHOD.fit(data, TINY, Context(rungs=2))
    first = next(fit)
    images = unit(data.test)
    before, state = first.detector.scores(images, {}), copy.deepcopy(first.state())
    list(fit)
    assert torch.equal(first.detector.scores(images, {}), before)
    assert same(first.state()["network"], state["network"])


def test_several_network_updates_for_each_of_the_augmentation(data: TrialData) -> None:
    values = {"warm_share": 0.0, "steps": 5}
    counts = [
        run(data, Context(rungs=1), inner_updates=k, **values)[-1].diagnostics["tuning_updates"]
        for k in (1, 2, 5)
    ]
    assert counts == [5, 2, 1]


def test_the_first_order_goes_another_way(data: TrialData) -> None:
    values = {"warm_share": 0.0, "learning_rate": 0.3, "steps": 4}
    exact, first = (run(data, Context(rungs=1), order=o, **values)[-1] for o in ("exact", "first"))
    assert exact.tuned != first.tuned
    assert -1 <= exact.diagnostics["first_order_cosine"] <= 1
    assert "first_order_cosine" not in first.diagnostics


def test_the_ablations_of_the_validation_loss_go_other_ways(data: TrialData) -> None:
    sizes = {
        run(data, Context(rungs=1), alignment=kind, warm_share=0.0, steps=3)[-1].tuned["size"]
        for kind in ("validation_loss", "mmd", "mmd_raw")
    }
    assert len(sizes) == 3


def test_it_learns_to_tell_and_the_size_goes_the_right_way() -> None:
    size = 24
    test = torch.cat((waves(16, 2, size), blotted(waves(16, 3, size), 0.08)))
    data = TrialData(waves(48, 0, size), waves(4, 1, size), test)
    values = {"width": 6, "batch_size": 12, "steps": 48, "warm_share": 0.4, "stem": "small"}
    values |= {"initial_size": 0.02, "tuning_rate": 0.05, "initial_ratio": 1.0}
    last = run(data, Context(rungs=2), **values)[-1]
    scores = last.detector.scores(unit(test), {})
    above = (scores[16:, None] > scores[None, :16]).float().mean()
    assert above > 0.95
    assert last.train_loss < 0.4
    assert 0.025 < last.tuned["size"] < 0.3


# The warm start, the end and what is kept.


def test_tuning_waits_for_a_network_that_has_not_learned_but_not_for_ever(data: TrialData) -> None:
    training = tuning(data, warm_share=0.25, steps=16, learning_rate=1e-5)
    while not training.tuning:
        training.step()
    assert training.began == 8
    assert training.warm_loss > 0.6
    eager = tuning(data, warm_share=0.25, steps=16)
    eager.smoothed = SmoothedLoss(0.1, 1.0)
    for _ in range(5):
        eager.smoothed.total = 0.1 * eager.smoothed.weight
        eager.step()
    assert eager.began == 4


def test_at_rest_the_least_sum_is_the_best() -> None:
    rule = StopRule(patience=10)
    assert rule.look(2.0, 5, [0.0]) and not rule.over
    assert not rule.look(2.0, 16, [1.0]) and not rule.over  # nothing ends before the 20th update
    assert not rule.look(3.0, 20, [0.0]) and rule.over
    assert rule.look(1.0, 21, [1.0]) and not rule.over
    assert (rule.best, rule.best_update) == (1.0, 21)
    smoothed = SmoothedLoss()
    assert smoothed.value == math.inf
    smoothed.add(2.0)
    assert smoothed.value == pytest.approx(2.0)
    smoothed.add(1.0)
    assert smoothed.value == pytest.approx((0.9 * 2 + 1) / 1.9)


def test_as_long_as_the_augmentation_travels_the_newest_state_is_the_best() -> None:
    rule = StopRule(patience=20)
    # The sum rises on the way, but every step leads on; a quarter of 20 steps is 5.
    for update, place in ((10, 4.0), (20, 9.0), (30, 13.0), (40, 15.0)):
        assert rule.look(1.0 + update / 100, update, [place, 0.0]) and not rule.over
    # Two looks earlier it was at 13: it has come 3 of 20 and rests, and sums count again.
    assert rule.look(1.5, 50, [16.0, 0.0]) and rule.best == 1.5
    assert not rule.look(1.6, 60, [15.0, 1.0])
    assert not rule.look(1.6, 70, [14.0, 2.0]) and rule.over
    # Another parameter moves on: what it left behind was no least sum.
    assert rule.look(1.7, 80, [14.0, 9.0]) and not rule.over
    assert rule_from(state_of(rule)) == rule


def test_the_best_state_is_kept_and_ends_the_training(data: TrialData) -> None:
    training = tuning(data, warm_share=0.0, steps=60, patience=10)
    for _ in range(10):
        training.step()
    best = training._present()
    assert same(training.kept().network, best.network)
    training.rule.best = -1.0  # nothing can be better from here on
    while not training.stopped:
        training.step()
    assert training.step_number == training.tuned.updates == 20
    assert same(training.kept().network, best.network)
    assert torch.equal(training.kept().vector, best.vector)
    assert not same(training._present().network, best.network)
    network = training.detector()[0].network.state_dict()
    assert all(torch.equal(network[name], value) for name, value in best.network.items())


def test_a_stopped_trial_yields_its_last_rungs_without_training(data: TrialData) -> None:
    state = run(data, Context(rungs=4), steps=12)[1].state()
    state["stopped"] = True
    rest = run(data, Context(rungs=4, resume=state), steps=12)
    assert [p.rung for p in rest] == [3, 4]
    assert rest[-1].state()["step"] == 6
    assert all(math.isfinite(p.train_loss) for p in rest)


def test_the_trajectory_leads_from_the_start_to_the_last_step(data: TrialData) -> None:
    first, second = run(data, warm_share=0.0, steps=30, patience=100)
    (start, _), *_, (last, values) = second.trajectory
    assert first.trajectory[-1][0] == 15 < start < last == 30
    assert len(first.trajectory) == len(second.trajectory) == 12
    assert values.keys() == second.tuned.keys()
    assert not run(data, warm_share=0.9, steps=2)[0].trajectory


def test_each_alignment_learns_another_augmentation(data: TrialData) -> None:
    learned = [
        run(data, **values)[-1].tuned["size"]
        for values in (
            {"alignment": "validation_loss"},
            {"alignment": "mmd"},
            {"alignment": "mmd", "mmd_kernel": "gaussian"},
        )
    ]
    assert len(set(learned)) == 3
