"""The training step that a hypergradient looks through."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from methods.hypergradient.derivative import hypergradient
from methods.hypergradient.inner_step import InnerStep, training_step
from tests.methods.hypergradient_toys import (
    INNER,
    as_tensor,
    case,
    one_graph,
    smooth,
)


def test_the_step_is_that_of_torch_sgd() -> None:
    network = smooth()
    twin = copy.deepcopy(network)
    optimiser = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    vector, augment, both, _ = case("cutdiff")
    velocity: Mapping[str, Tensor] | None = None
    assert both.fixed is not None
    for number in range(4):
        optimiser.zero_grad()
        (both.tuned(twin, augment(vector)) + both.fixed(twin)).backward()
        optimiser.step()
        if number % 2:
            step = training_step(network, augment(vector), both, INNER, velocity=velocity)
        else:
            found = hypergradient(network, vector, augment, both, INNER, velocity=velocity)
            step = found.step
        step.commit(network)
        velocity = step.velocity
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_nothing_of_the_network_moves_before_the_commit() -> None:
    network = smooth(nn.BatchNorm2d)
    network.train()
    before = copy.deepcopy(network.state_dict())
    vector, augment, both, _ = case("cutdiff")
    random_state = torch.get_rng_state()
    found = hypergradient(network, vector, augment, both, INNER)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert not vector.requires_grad and vector.grad is None
    assert not any(v.requires_grad for v in found.step.parameters.values())
    assert not any(v.requires_grad for v in found.step.velocity.values())


def test_batch_statistics_move_as_an_ordinary_step_moves_them() -> None:
    network = smooth(nn.BatchNorm2d)
    twin = copy.deepcopy(network)
    vector, augment, both, _ = case("cutdiff")
    found = hypergradient(network, vector, augment, both, INNER)
    assert both.fixed is not None
    both.fixed(twin)
    both.tuned(twin, augment(vector))
    found.step.commit(network)
    for name, buffer in twin.named_buffers():
        torch.testing.assert_close(network.get_buffer(name), buffer, rtol=0, atol=0)
    assert int(network.get_buffer("trunk.1.num_batches_tracked")) == 2


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_differentiated_exactly(training: bool) -> None:
    network = smooth(nn.BatchNorm2d).train(training)
    vector, augment, both, _ = case("cutdiff-signed")
    found = hypergradient(network, vector, augment, both, INNER)
    _, reference = one_graph(network, vector.clone().requires_grad_(), augment, both, INNER)
    torch.testing.assert_close(as_tensor(found.gradient), reference, rtol=1e-10, atol=1e-12)
    if not training:
        for name, buffer in found.step.buffers.items():
            assert torch.equal(buffer, network.get_buffer(name))


def test_frozen_parameters_stay() -> None:
    network = smooth()
    first = network.get_submodule("trunk.0").requires_grad_(False)
    vector, augment, both, _ = case("cutdiff")
    found = hypergradient(network, vector, augment, both, INNER)
    assert not any(name.startswith("trunk.0") for name in found.step.parameters)
    frozen = copy.deepcopy(first.state_dict())
    found.step.commit(network)
    for name, value in first.state_dict().items():
        assert torch.equal(value, frozen[name])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"learning_rate": 0.0}, "learning_rate is 0.0, but must be above 0"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"learning_rate": 0.1, "momentum": 1.0}, "momentum is 1.0, but must be from 0 to below 1"),
        ({"learning_rate": 0.1, "weight_decay": -1.0}, "weight_decay is -1.0"),
    ],
)
def test_a_bad_step_is_refused(arguments: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        InnerStep(**arguments)
