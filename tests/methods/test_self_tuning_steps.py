"""What a step of a self-tuned training sees, on one worker or on several."""

from __future__ import annotations

import pytest
import torch

from methods.augmentation import get_augmentation
from methods.contract import Context, TrialData, unit
from methods.hyperparameter import complete
from methods.self_tuning.losses import classification, evaluating, one_class
from methods.self_tuning.network import build_network
from methods.training.batches import Batches, choose, evenly, tuning_half
from tests.methods.self_tuning_toys import METHOD, SIZE, TINY, blotted, run, same, striped
from tests.methods.stripes import generator
from tests.methods.threads import in_threads


@pytest.fixture(scope="module")
def data() -> TrialData:
    return striped()


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


def test_two_workers_learn_what_one_does(data: TrialData) -> None:
    values = {"norm": "group", "warm_share": 0.2, "steps": 6}
    single = run(data, Context(seed=6, rungs=2), **values)[-1]
    pair = in_threads(2, lambda context: run(data, context, **values)[-1], seed=6, rungs=2)
    for found in pair:
        assert found.train_loss == pytest.approx(single.train_loss, rel=1e-4)
        assert found.tuned == pytest.approx(dict(single.tuned), rel=1e-3)
    assert pair[0].tuned == pair[1].tuned
    assert same(pair[0].detector.weights(), pair[1].detector.weights())


def test_two_workers_stay_alike_with_batch_statistics(data: TrialData) -> None:
    pair = in_threads(2, lambda context: run(data, context)[-1], seed=6, rungs=2)
    assert pair[0].tuned == pair[1].tuned
    assert same(pair[0].detector.weights(), pair[1].detector.weights())
    alone = in_threads(2, lambda context: run(data, context, batch_size=2)[-1], seed=6, rungs=2)
    assert all(isinstance(e, ValueError) and "2 images a worker" in str(e) for e in alone)
