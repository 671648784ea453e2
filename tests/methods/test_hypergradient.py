"""The hypergradient is the derivative that it says it is, for every augmentation and setting."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from methods.augmentation import augmentation_names, get_augmentation
from methods.contract import Context
from methods.criteria.alignment import Alignment
from methods.hypergradient.derivative import hypergradient
from methods.hypergradient.inner_step import InnerStep, Losses
from methods.networks.resnet import projection_resnet18
from methods.self_tuning.losses import step_losses
from tests.methods.hypergradient_toys import (
    BATCH,
    INNER,
    as_tensor,
    case,
    losses,
    one_graph,
    picture,
    smooth,
    some_velocity,
)


@pytest.mark.parametrize("name", augmentation_names(True))
def test_two_passes_equal_one_graph_and_central_differences(name: str) -> None:
    network = smooth()
    velocity = some_velocity(network)
    vector, augment, both, _ = case(name)
    found = hypergradient(network, vector, augment, both, INNER, velocity=velocity)
    gradient = as_tensor(found.gradient)

    leaf = vector.clone().requires_grad_()
    validation, reference = one_graph(network, leaf, augment, both, INNER, velocity=velocity)
    torch.testing.assert_close(gradient, reference, rtol=1e-10, atol=1e-12)
    assert found.validation_loss == pytest.approx(validation.item(), abs=1e-12)

    def validation_at(moved: Tensor) -> float:
        value, _ = one_graph(
            network, moved.requires_grad_(), augment, both, INNER, velocity=velocity
        )
        return value.item()

    epsilon = 1e-5
    for index in range(len(vector)):
        step = torch.zeros_like(vector)
        step[index] = epsilon
        slope = (validation_at(vector + step) - validation_at(vector - step)) / (2 * epsilon)
        assert float(gradient[index]) == pytest.approx(slope, rel=1e-5, abs=1e-8), name

    first = as_tensor(found.first_order)
    assert (gradient - first).norm() > 1e-3 * gradient.norm()
    assert found.cosine == pytest.approx(float(functional.cosine_similarity(first, gradient, 0)))


def test_first_order_is_the_gradient_at_a_constant_network() -> None:
    network = smooth()
    vector, augment, both, _ = case("cutdiff")
    found = hypergradient(network, vector, augment, both, INNER, order="first")
    leaf = vector.clone().requires_grad_()
    after = found.step.parameters
    value = both.validation(
        lambda images: functional_call(network, dict(after), (images,)), augment(leaf)
    )
    torch.testing.assert_close(
        as_tensor(found.gradient), torch.autograd.grad(value, leaf)[0], rtol=1e-12, atol=0
    )
    exact = hypergradient(network, vector, augment, both, INNER)
    torch.testing.assert_close(exact.first_order, found.gradient, rtol=1e-12, atol=1e-14)
    assert found.cosine is None
    assert exact.cosine is not None and -1 <= exact.cosine < 1
    for name, value in exact.step.parameters.items():
        torch.testing.assert_close(value, after[name], rtol=1e-12, atol=1e-14)


def test_a_quadratic_has_the_derivative_of_the_textbook() -> None:
    class Point(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))

        def forward(self, images: Tensor) -> Tensor:
            return self.place

    tuned, target = torch.tensor([0.3, 0.4]).double(), torch.tensor([2.0, 5.0]).double()
    both = Losses(
        tuned=lambda network, x: (network(x) - x).square().sum() / 2,
        validation=lambda network, x: (network(x) - target).square().sum() / 2,
    )
    network = Point()
    found = hypergradient(network, tuned, lambda a: a.clone(), both, InnerStep(0.25))
    after = network.place.detach() - 0.25 * (network.place.detach() - tuned)
    torch.testing.assert_close(found.step.parameters["place"], after)
    torch.testing.assert_close(as_tensor(found.gradient), 0.25 * (after - target))
    assert found.cosine is not None and math.isnan(found.cosine)
    with pytest.raises(ValueError, match="no first-order gradient; use order 'exact'"):
        hypergradient(network, tuned, lambda a: a.clone(), both, InnerStep(0.25), order="first")


def test_saying_what_is_fixed_changes_the_cost_and_not_the_number() -> None:
    network = smooth()
    vector, augment, apart, _ = case("thread")
    together = losses(picture(BATCH, 1), picture(BATCH + 1, 2), apart=False)
    one = hypergradient(network, vector, augment, apart, INNER)
    other = hypergradient(network, vector, augment, together, INNER)
    torch.testing.assert_close(one.gradient, other.gradient, rtol=1e-10, atol=1e-14)
    assert one.step.loss == pytest.approx(other.step.loss)


def test_names_and_a_vector_give_the_same_numbers() -> None:
    network = smooth()
    vector, augment, both, draw = case("cutdiff-signed")
    augmentation = get_augmentation("cutdiff-signed")
    by_name = dict(zip(augmentation.names, vector.float(), strict=True))

    def named(parameters: Mapping[str, Tensor]) -> Tensor:
        return augmentation.apply(picture(BATCH, 1), parameters, draw)

    one = hypergradient(network, vector.float(), augment, both, INNER)
    other = hypergradient(network, by_name, named, both, INNER)
    assert isinstance(other.gradient, Mapping) and isinstance(other.first_order, Mapping)
    assert list(other.gradient) == list(augmentation.names)
    stacked = torch.stack([other.gradient[name] for name in augmentation.names])
    assert stacked.dtype == torch.float32
    torch.testing.assert_close(stacked, as_tensor(one.gradient))


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_the_detectors_own_network_in_float32_is_near_float64(norm: Any) -> None:
    torch.manual_seed(1)
    network = projection_resnet18((16, 16), width=4, norm=norm, head_widths=(16,)).double()
    augmentation = get_augmentation("cutdiff")
    normal, test = picture(6, 3, (16, 16)), picture(6, 4, (16, 16))
    draw = augmentation.draw(6, (16, 16), torch.Generator().manual_seed(0))
    vector = augmentation.vector({"log_size": math.log(0.05), "log_ratio": 0.2, "angle": 0.7})
    inner = InnerStep(0.03)
    found = hypergradient(
        network, vector, lambda a: augmentation.apply(normal, a, draw), losses(normal, test), inner
    )
    _, reference = one_graph(
        network,
        vector.clone().requires_grad_(),
        lambda a: augmentation.apply(normal, a, draw),
        losses(normal, test),
        inner,
    )
    torch.testing.assert_close(as_tensor(found.gradient), reference, rtol=1e-9, atol=1e-12)
    rough = hypergradient(
        network.float(),
        vector,
        lambda a: augmentation.apply(normal.float(), a, draw),
        losses(normal.float(), test.float()),
        inner,
    )
    torch.testing.assert_close(as_tensor(rough.gradient), reference, rtol=0.02, atol=1e-4)


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
def test_running_statistics_are_a_path_of_the_derivative(momentum: float | None) -> None:
    # Two normalisations, one of which has seen batches before; every path, by central differences.
    network = smooth(lambda channels: nn.BatchNorm2d(channels, momentum=momentum))
    network.head = nn.Sequential(nn.BatchNorm1d(6).double(), network.head)
    network(picture(BATCH, 7))
    normal, test = picture(BATCH, 1), picture(BATCH + 1, 2)
    vector, _, _, draw = case("cutdiff")
    augmentation, velocity = get_augmentation("cutdiff"), some_velocity(network)

    def two_losses(module: nn.Module) -> Losses:
        return step_losses(module, normal, test, Alignment(), Context(), batch_statistics=True)

    def augment(moved: Tensor) -> Tensor:
        return augmentation.apply(normal, moved, draw)

    def validation_at(moved: Tensor) -> float:
        ahead = copy.deepcopy(network)
        optimiser = torch.optim.SGD(ahead.parameters(), 0.1)
        both = two_losses(ahead)
        both.tuned(ahead, augment(moved)).backward()
        with torch.no_grad():
            for name, parameter in ahead.named_parameters():
                assert parameter.grad is not None
                parameter.grad += INNER.weight_decay * parameter + INNER.momentum * velocity[name]
        optimiser.step()
        with torch.no_grad():
            return float(both.validation(ahead, augment(moved)))

    state = {name: value.clone() for name, value in network.state_dict().items()}
    found = hypergradient(network, vector, augment, two_losses(network), INNER, velocity=velocity)
    assert found.validation_loss == pytest.approx(validation_at(vector), rel=1e-12)
    epsilon = 1e-5
    steps = epsilon * torch.eye(len(vector), dtype=vector.dtype)
    slopes = [
        (validation_at(vector + s) - validation_at(vector - s)) / (2 * epsilon) for s in steps
    ]
    assert as_tensor(found.gradient).tolist() == pytest.approx(slopes, rel=1e-6, abs=1e-10)
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())


def test_running_statistics_without_a_weight_that_trains_are_refused() -> None:
    network = smooth(lambda channels: nn.BatchNorm2d(channels, affine=False))
    vector, augment, _, _ = case("cutdiff")
    sets = picture(BATCH, 1), picture(BATCH, 2)
    both = step_losses(
        network, *sets, Alignment("mmd", "gaussian"), Context(), batch_statistics=True
    )
    with pytest.raises(ValueError, match=r"trunk\.1 normalises with running statistics"):
        hypergradient(network, vector, augment, both, INNER)
    assert hypergradient(network, vector, augment, both, INNER, order="first").gradient is not None
