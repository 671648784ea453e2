"""A self-tuned training: what moves, what is kept, what is the same however it is run."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from methods.augmentation import augmentation_names, get_augmentation
from methods.contract import Context, Diverged, Progress, TrialData, unit
from methods.criteria.alignment import collapse_threshold
from methods.hyperparameter import by_name, complete
from methods.registry import get_method
from methods.self_tuning.batches import Batch, Batches, choose, evenly, tuning_half
from methods.self_tuning.guards import (
    anomaly_share,
    bounds_reached,
    change,
    comparable,
    consensus,
    warnings,
)
from methods.self_tuning.hypergradient import VanishedGradient
from methods.self_tuning.loop import SelfTuning
from methods.self_tuning.losses import classification, evaluating, one_class
from methods.self_tuning.network import build_network
from methods.self_tuning.outer_step import TunedVector
from methods.self_tuning.starting_point import (
    as_start,
    coordinates_of,
    initial_hyperparameters,
    public_values,
    start_vector,
)
from methods.self_tuning.stopping import SmoothedLoss, StopRule
from tests.threads import in_threads

METHOD = get_method("st-ssad")
SIZE = (16, 16)
TINY = {
    "width": 4,
    "stem": "large",
    "batch_size": 4,
    "steps": 8,
    "warm_share": 0.25,
    "initial_size": 0.05,
    "initial_ratio": 1.2,
    "initial_angle": 0.3,
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def waves(count: int, seed: int, size: int = 16) -> Tensor:
    """Noisy stripes of random phase."""
    draws = generator(seed)
    phase = 2 * math.pi * torch.rand(count, 1, 1, 1, generator=draws)
    line = torch.arange(size) * (2 * math.pi / 8)
    images = 0.6 + 0.2 * torch.sin(line + phase).expand(count, 3, size, size)
    noise = 0.05 * torch.randn(count, 3, size, size, generator=draws)
    return (255 * (images + noise).clamp(0, 1)).to(torch.uint8)


def blotted(images: Tensor, size: float, seed: int = 5) -> Tensor:
    """The images with the patch of CutDiff in them."""
    augmentation = get_augmentation("cutdiff")
    vector = augmentation.vector({"log_size": math.log(size)})
    draw = augmentation.draw(len(images), tuple(images.shape[2:]), generator(seed))  # type: ignore[arg-type]
    return (255 * augmentation.apply(unit(images), vector, draw)).round().to(torch.uint8)


@pytest.fixture(scope="module")
def data() -> TrialData:
    test = torch.cat((waves(5, 2), blotted(waves(5, 3), 0.1)))
    return TrialData(waves(12, 0), waves(4, 1), test)


def run(data: TrialData, context: Context | None = None, **values: Any) -> list[Progress]:
    return list(METHOD.fit(data, {**TINY, **values}, context or Context(rungs=2)))


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def tuning(data: TrialData, context: Context | None = None, **values: Any) -> SelfTuning:
    full = complete(METHOD.hyperparameters, {**TINY, **values})
    return SelfTuning(data, full, context or Context())


# The whole course.


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


def test_the_stop_rule() -> None:
    rule = StopRule(patience=10)
    assert rule.look(2.0, 5) and not rule.over
    assert not rule.look(2.0, 16) and not rule.over  # nothing ends before the 20th update
    assert not rule.look(3.0, 20) and rule.over
    assert rule.look(1.0, 21) and not rule.over
    assert (rule.best, rule.best_update) == (1.0, 21)
    smoothed = SmoothedLoss()
    assert smoothed.value == math.inf
    smoothed.add(2.0)
    assert smoothed.value == pytest.approx(2.0)
    smoothed.add(1.0)
    assert smoothed.value == pytest.approx((0.9 * 2 + 1) / 1.9)


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
    network = training.detector().network.state_dict()
    assert all(torch.equal(network[name], value) for name, value in best.network.items())


def test_a_stopped_trial_yields_its_last_rungs_without_training(data: TrialData) -> None:
    state = run(data, Context(rungs=4), steps=12)[1].state()
    state["stopped"] = True
    rest = run(data, Context(rungs=4, resume=state), steps=12)
    assert [p.rung for p in rest] == [3, 4]
    assert rest[-1].state()["step"] == 6
    assert all(math.isfinite(p.train_loss) for p in rest)


# What a step sees.


def test_batches_are_shared_out_and_not_drawn_apart(data: TrialData) -> None:
    values = complete(METHOD.hyperparameters, {**TINY, "test_batch_size": 6})
    augmentation = get_augmentation("cutdiff")
    whole = Batches(data, values, Context(seed=3), augmentation)
    parts = [
        Batches(data, values, Context(seed=3, rank=r, world_size=2), augmentation) for r in (0, 1)
    ]
    for step in (0, 7):
        joined = [part.at(step) for part in parts]
        assert torch.equal(torch.cat([b.normal for b in joined]), whole.at(step).normal)
        centres = torch.cat([b.draw["centre"] for b in joined])
        assert torch.equal(centres, whole.at(step).draw["centre"])
        tests = torch.cat([part.test_at(step) for part in parts])
        assert torch.equal(tests, whole.test_at(step)) and len(tests) == 6
    assert not torch.equal(whole.at(0).normal, whole.at(7).normal)


def test_a_choice_repeats_no_image_where_there_are_enough() -> None:
    assert choose(9, 9, generator()).unique().numel() == 9
    assert choose(3, 8, generator()).max() < 3
    assert evenly(torch.arange(10), 4).tolist() == [0, 3, 6, 9]


def test_half_validation_does_not_look_at_the_other_half(data: TrialData) -> None:
    seen = tuning_half(len(data.test))
    assert len(seen) == 5 and torch.equal(seen, tuning_half(len(data.test)))
    other = data.test.clone()
    hidden = [i for i in range(len(other)) if i not in seen.tolist()]
    other[hidden] = 255 - other[hidden]
    changed = TrialData(data.train, data.held_out, other)
    half = [run(d, validation="half")[-1] for d in (data, changed)]
    assert half[0].tuned == half[1].tuned
    assert same(half[0].detector.weights(), half[1].detector.weights())
    everything = [run(d)[-1].tuned for d in (data, changed)]
    assert everything[0] != everything[1]


def test_sets_apart_lose_what_batch_statistics_take_away(data: TrialData) -> None:
    """Why both sets train in one batch: with their own statistics they have the same means."""
    network = build_network(complete(METHOD.hyperparameters, TINY), SIZE, seed=1)
    normal, augmented = unit(data.train), unit(blotted(data.train, 0.2))
    head = network.head[:-1]
    with torch.no_grad():
        # Before the activation: the head's last normalisation.
        apart = [head[:-1](network.trunk(images)).mean(0) for images in (normal, augmented)]
        together = head[:-1](network.trunk(torch.cat((normal, augmented))))
        means = [part.mean(0) for part in together.split(len(normal))]
    assert (apart[0] - apart[1]).abs().max() < 1e-4
    assert (means[0] - means[1]).abs().max() > 1e-2


def test_the_loss_is_the_mean_cross_entropy_either_way(data: TrialData) -> None:
    network = build_network(complete(METHOD.hyperparameters, {**TINY, "norm": "group"}), SIZE, 1)
    normal, augmented = unit(data.train[:3]), unit(blotted(data.train[3:6], 0.2))
    apart = one_class(network, normal, 0) + one_class(network, augmented, 1)
    torch.testing.assert_close(classification(network, normal, augmented), apart)
    network.train()
    with evaluating(network):
        assert not network.training
    assert network.training


# Several workers.


def pair_of(work: Callable[[Context], Any], **options: Any) -> list[Any]:
    return in_threads(
        2,
        lambda rank, all_reduce: work(
            Context(rank=rank, world_size=2, all_reduce=all_reduce, **options)
        ),
    )


def test_two_workers_learn_what_one_does(data: TrialData) -> None:
    values = {"norm": "group", "warm_share": 0.2, "steps": 6}
    single = run(data, Context(seed=6, rungs=2), **values)[-1]
    pair = pair_of(lambda context: run(data, context, **values)[-1], seed=6, rungs=2)
    for found in pair:
        assert found.train_loss == pytest.approx(single.train_loss, rel=1e-4)
        assert found.tuned == pytest.approx(dict(single.tuned), rel=1e-3)
    assert pair[0].tuned == pair[1].tuned
    assert same(pair[0].detector.weights(), pair[1].detector.weights())


def test_two_workers_stay_alike_with_batch_statistics(data: TrialData) -> None:
    pair = pair_of(lambda context: run(data, context)[-1], seed=6, rungs=2)
    assert pair[0].tuned == pair[1].tuned
    assert same(pair[0].detector.weights(), pair[1].detector.weights())
    alone = pair_of(lambda context: run(data, context, batch_size=2)[-1], seed=6, rungs=2)
    assert all(isinstance(e, ValueError) and "2 images a worker" in str(e) for e in alone)


# Detector.


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


# Where learning starts.


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


def test_the_outer_step_is_adam_within_bounds() -> None:
    augmentation = get_augmentation("cutdiff-cholesky")
    tuned = TunedVector(augmentation, augmentation.vector(), (64, 64), rate=0.1)
    tuned.move(torch.tensor([3.0, -0.5, 0.0]))
    # The first step has the length of the rate, in units of the usual ranges 0.29, 0.2 and 0.29.
    torch.testing.assert_close(tuned.vector.tolist(), [0.1 - 0.029, 0.02, 0.1])
    for _ in range(50):
        tuned.move(torch.tensor([-1.0, 0.0, 1.0]))
    augmentation.check(tuned.vector, (64, 64))
    assert tuned.vector[0] > 1


# Guards.


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


def test_an_inverted_trial_stands_against_the_consensus() -> None:
    truth = torch.arange(20.0)
    trials = torch.stack([truth, truth.exp(), truth + 3 * torch.sin(truth), -truth])
    agreement = consensus(trials)
    assert agreement[:3].min() > 0.5 and agreement[3] < -0.9
    ties = torch.tensor([[1.0, 1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4]])
    # By hand: ranks -2 -2 1 3 against -3 -1 1 3.
    assert consensus(ties)[0].item() == pytest.approx(18 / math.sqrt(18 * 20))
    with pytest.raises(ValueError, match="3 trials or more"):
        consensus(truth[None])


def test_what_has_not_learned_or_collapsed_is_not_compared() -> None:
    assert comparable({}) and comparable({"warm_loss": 0.4, "embedding_spread": 0.1})
    assert not comparable({"warm_loss": 0.69, "embedding_spread": 0.1})
    assert not comparable({"warm_loss": 0.4, "embedding_spread": 1e-9})


def test_the_trajectory_leads_from_the_start_to_the_last_step(data: TrialData) -> None:
    first, second = run(data, warm_share=0.0, steps=30, patience=100)
    (start, _), *_, (last, values) = second.trajectory
    assert first.trajectory[-1][0] == 15 < start < last == 30
    assert len(first.trajectory) == len(second.trajectory) == 12
    assert values.keys() == second.tuned.keys()
    assert not run(data, warm_share=0.9, steps=2)[0].trajectory


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
