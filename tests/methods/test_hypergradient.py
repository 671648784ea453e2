"""The hypergradient is the derivative that it says it is, for every augmentation and setting."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from methods.augmentation import Draw, augmentation_names, get_augmentation
from methods.contract import Context, Diverged
from methods.networks.resnet import Projected, projection_resnet18
from methods.self_tuning.hypergradient import Hypergradient, VanishedGradient, hypergradient
from methods.self_tuning.inner_step import InnerStep, Losses, Network, training_step
from methods.self_tuning.workers import join, mean_over_workers

SIZE = (10, 12)
BATCH = 4
INNER = InnerStep(0.1, momentum=0.9, weight_decay=1e-3)
GENERIC = {
    "log_size": math.log(0.05),
    "log_ratio": 0.2,
    "angle": 0.7,
    "amplitude": -0.45,
    "red": 0.3,
    "green": -0.6,
    "blue": 0.45,
    "log_width": math.log(0.1),
    "log_length": math.log(0.4),
    "spread": 0.5,
    "bend": 0.4,
    "opacity": 0.7,
    "jitter": 0.2,
    "l11": 0.25,
    "l21": 0.05,
    "l22": 0.2,
}


class Smooth(nn.Module):
    """A small twice differentiable network with an embedding and logits."""

    def __init__(self, normalise: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 4, 3, 2, 1), normalise(4), nn.GELU(), nn.Conv2d(4, 6, 3, 2, 1), nn.GELU()
        )
        self.head = nn.Linear(6, 2)

    def forward(self, images: Tensor) -> Projected:
        features = self.trunk(images).mean((2, 3))
        return Projected(functional.normalize(features, dim=1), self.head(features))


def smooth(normalise: Callable[[int], nn.Module] = lambda c: nn.GroupNorm(2, c)) -> Smooth:
    torch.manual_seed(0)
    return Smooth(normalise).double()


def picture(batch: int, seed: int, size: tuple[int, int] = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(batch, 3, *size, generator=generator, dtype=torch.float64)
    return 0.1 + 0.8 * noise


def alignment(train: Tensor, corrupted: Tensor, test: Tensor) -> Tensor:
    """ST-SSAD, Eq. 2 and 3, as a mean over the test embeddings."""
    rows = torch.cat([train, corrupted, test])
    middle = rows.mean(0)
    scale = math.sqrt(len(rows)) / (rows - middle).norm()
    train, corrupted, test = ((z - middle) * scale for z in (train, corrupted, test))
    to_train = (test - train.mean(0)).norm(dim=1)
    to_corrupted = (test - corrupted.mean(0)).norm(dim=1)
    return (to_train + to_corrupted).mean() / 2


def losses(
    normal: Tensor, test: Tensor, context: Context | None = None, apart: bool = True
) -> Losses:
    """Two-class training and alignment; `apart` says which part does not see augmented images."""
    context = context or Context()

    def classify(network: Network, images: Tensor, label: int) -> Tensor:
        labels = torch.full((len(images),), label)
        return functional.cross_entropy(network(images).logits, labels) / 2

    def fixed(network: Network) -> Tensor:
        return classify(network, normal, 0)

    def tuned(network: Network, augmented: Tensor) -> Tensor:
        loss = classify(network, augmented, 1)
        return loss if apart else fixed(network) + loss

    def validation(network: Network, augmented: Tensor) -> Tensor:
        sets = [network(images).embedding for images in (normal, augmented, test)]
        return alignment(*(join(rows, context) for rows in sets))

    return Losses(tuned, validation, fixed if apart else None)


def one_graph(
    network: nn.Module,
    vector: Tensor,
    augment: Callable[[Tensor], Tensor],
    losses: Losses,
    inner: InnerStep,
    *,
    velocity: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The reference: one differentiable expression from the tuned vector to the validation loss."""
    theta = {n: p.detach().clone().requires_grad_() for n, p in network.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}

    def call(parameters: dict[str, Tensor]) -> Network:
        return lambda images: functional_call(network, {**parameters, **buffers}, (images,))

    augmented = augment(vector)
    loss = losses.tuned(call(theta), augmented)
    if losses.fixed is not None:
        loss = loss + losses.fixed(call(theta))
    gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
    after = {}
    for (name, parameter), gradient in zip(theta.items(), gradients, strict=True):
        step = gradient + inner.weight_decay * parameter
        if velocity is not None:
            step = step + inner.momentum * velocity[name]
        after[name] = parameter - inner.learning_rate * step
    validation = losses.validation(call(after), augmented)
    return validation, torch.autograd.grad(validation, vector)[0]


def case(name: str, seed: int = 1) -> tuple[Tensor, Callable[[Tensor], Tensor], Losses, Draw]:
    """A vector, what it makes of a batch, and the losses, all in float64."""
    augmentation = get_augmentation(name)
    normal, test = picture(BATCH, seed), picture(BATCH + 1, seed + 1)
    draw = augmentation.draw(BATCH, SIZE, torch.Generator().manual_seed(seed))
    vector = augmentation.vector(
        {n: GENERIC.get(n.rsplit(".")[-1], 0.1) for n in augmentation.names}
    )

    def augment(parameters: Tensor) -> Tensor:
        return augmentation.apply(normal, parameters, draw)

    return vector, augment, losses(normal, test), draw


def some_velocity(network: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(9)
    return {
        name: 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for name, p in network.named_parameters()
    }


def as_tensor(value: Tensor | Mapping[str, Tensor]) -> Tensor:
    assert isinstance(value, Tensor)
    return value


# Exactness.


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


# The inner step.


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


# Several workers.


def in_threads(world: int, work: Callable[[Context], Any]) -> list[Any]:
    """Run one worker a thread; `all_reduce` is a mean behind a barrier."""
    barrier = threading.Barrier(world, timeout=10)
    shelf: list[Any] = [None] * world
    results: list[Any] = [None] * world

    def run(rank: int) -> None:
        def all_reduce(tensor: Tensor) -> Tensor:
            shelf[rank] = tensor.detach().clone()
            barrier.wait()
            mean = torch.stack(shelf).mean(0)
            barrier.wait()
            return mean

        context = Context(rank=rank, world_size=world, all_reduce=all_reduce)
        try:
            results[rank] = work(context)
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("order", ["exact", "first"])
@pytest.mark.parametrize("world", [2, 3])
def test_workers_find_what_one_worker_finds_with_the_joined_batch(world: int, order: Any) -> None:
    augmentation = get_augmentation("mixture")
    normal, test = picture(6, 1), picture(12, 2)
    draw = augmentation.draw(6, SIZE, torch.Generator().manual_seed(0))
    vector = augmentation.vector(
        {n: GENERIC.get(n.rsplit(".")[-1], 0.1) for n in augmentation.names}
    )
    network = smooth()
    velocity = some_velocity(network)

    def work(context: Context) -> Hypergradient:
        own, others = context.share(6), context.share(12)
        return hypergradient(
            copy.deepcopy(network),
            vector,
            lambda a: augmentation.apply(normal[own], a, draw.share(own)),
            losses(normal[own], test[others], context),
            INNER,
            velocity=velocity,
            order=order,
            context=context,
        )

    alone = work(Context())
    for found in in_threads(world, work):
        assert isinstance(found, Hypergradient), found
        torch.testing.assert_close(found.gradient, alone.gradient, rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(found.first_order, alone.first_order, rtol=1e-10, atol=1e-13)
        assert found.cosine == (None if order == "first" else pytest.approx(alone.cosine))
        assert found.validation_loss == pytest.approx(alone.validation_loss, rel=1e-12)
        assert found.step.loss == pytest.approx(alone.step.loss, rel=1e-12)
        for name, value in alone.step.parameters.items():
            torch.testing.assert_close(found.step.parameters[name], value, rtol=1e-12, atol=1e-14)


def test_workers_end_with_the_same_batch_statistics() -> None:
    normal, test = picture(6, 1), picture(6, 2)
    vector, _, _, _ = case("cutdiff")
    augmentation = get_augmentation("cutdiff")
    draw = augmentation.draw(6, SIZE, torch.Generator().manual_seed(0))
    network = smooth(nn.BatchNorm2d)

    def work(context: Context) -> Hypergradient:
        own = context.share(6)
        return hypergradient(
            copy.deepcopy(network),
            vector,
            lambda a: augmentation.apply(normal[own], a, draw.share(own)),
            losses(normal[own], test[own], context),
            INNER,
            context=context,
        )

    one, other = in_threads(2, work)
    alone = work(Context())
    for name, buffer in one.step.buffers.items():
        assert torch.equal(buffer, other.step.buffers[name])
    # The mean of two means is the mean of the whole.
    torch.testing.assert_close(
        one.step.buffers["trunk.1.running_mean"], alone.step.buffers["trunk.1.running_mean"]
    )


def test_a_loss_that_is_not_finite_on_one_worker_stops_all() -> None:
    network = smooth()
    vector, augment, both, _ = case("cutdiff")

    def work(context: Context) -> Hypergradient:
        poison = math.nan if context.rank == 1 else 1.0
        broken = Losses(both.tuned, lambda n, x: poison * both.validation(n, x), both.fixed)
        own = copy.deepcopy(network)
        return hypergradient(own, vector, augment, broken, INNER, context=context)

    assert all(isinstance(result, Diverged) for result in in_threads(2, work))


def test_joined_rows_are_not_for_a_training_loss() -> None:
    network = smooth()
    vector, augment, both, _ = case("cutdiff")

    def work(context: Context) -> Hypergradient:
        wrong = Losses(lambda n, x: join(n(x).logits, context).square().mean(), both.validation)
        own = copy.deepcopy(network)
        return hypergradient(own, vector, augment, wrong, INNER, context=context)

    for result in in_threads(2, work):
        assert isinstance(result, RuntimeError) and "differentiated twice" in str(result)


def test_a_mean_over_workers_keeps_shapes_and_precisions() -> None:
    def work(context: Context) -> list[Tensor]:
        mine = [torch.full((2, 3), float(context.rank)), torch.ones((), dtype=torch.float64)]
        return mean_over_workers(mine, context)

    for single, double in in_threads(2, work):
        assert torch.equal(single, torch.full((2, 3), 0.5))
        assert double.dtype == torch.float64 and double.shape == ()


# Faults.


@pytest.mark.parametrize(
    ("part", "said"), [("tuned", "training loss"), ("validation", "validation")]
)
def test_a_loss_that_is_not_a_number_is_divergence(part: str, said: str) -> None:
    vector, augment, both, _ = case("cutdiff")
    parts = {"tuned": both.tuned, "validation": both.validation, "fixed": both.fixed}
    sound: Any = parts[part]
    parts[part] = lambda network, images: sound(network, images) * math.nan
    with pytest.raises(Diverged, match=f"the {said}.* is nan"):
        hypergradient(smooth(), vector, augment, Losses(**parts), INNER)  # type: ignore[arg-type]


def test_a_gradient_that_is_not_a_number_is_divergence() -> None:
    vector, augment, both, _ = case("cutdiff")

    def rooted(network: Network, images: Tensor) -> Tensor:
        # Finite, with an infinite slope.
        return both.tuned(network, images) + (network(images).logits * 0).sum().abs().sqrt()

    with pytest.raises(Diverged, match="training gradient"):
        hypergradient(smooth(), vector, augment, Losses(rooted, both.validation), INNER)
    with pytest.raises(Diverged, match="training gradient"):
        training_step(smooth(), augment(vector), Losses(rooted, both.validation), INNER)


def test_no_path_from_the_tuned_parameters_is_an_error() -> None:
    vector, augment, both, _ = case("cutdiff")
    with pytest.raises(ValueError, match="do not depend on the tuned parameters"):
        hypergradient(smooth(), vector, lambda a: augment(a.detach()), both, INNER)
    named = {"log_size": vector[0], "log_ratio": vector[1], "angle": vector[2]}

    def forgetful(a: Mapping[str, Tensor]) -> Tensor:
        return augment(torch.stack([a["log_size"], a["log_ratio"], vector[2]]))

    with pytest.raises(ValueError, match="do not depend on angle:"):
        hypergradient(smooth(), named, forgetful, both, INNER)


def test_no_path_through_the_losses_is_an_error() -> None:
    vector, augment, both, _ = case("cutdiff")
    blind = Losses(lambda n, x: both.tuned(n, x.detach()), both.validation)
    with pytest.raises(ValueError, match="tuned training loss has no path"):
        hypergradient(smooth(), vector, augment, blind, INNER)
    elsewhere = Losses(both.tuned, lambda n, x: x.square().mean(), both.fixed)
    with pytest.raises(ValueError, match="does not depend on the network"):
        hypergradient(smooth(), vector, augment, elsewhere, INNER)


def test_a_parameter_of_the_network_without_a_path_is_an_error() -> None:
    vector, augment, both, _ = case("cutdiff")
    network = smooth()
    network.unused = nn.Linear(2, 2).double()
    with pytest.raises(ValueError, match=r"parameter unused.weight has no path.*requires_grad_"):
        hypergradient(network, vector, augment, both, INNER)
    network.unused.requires_grad_(False)
    hypergradient(network, vector, augment, both, INNER)
    with pytest.raises(ValueError, match="unfreeze"):
        hypergradient(network.requires_grad_(False), vector, augment, both, INNER)


def test_constant_images_are_an_error_and_not_a_zero() -> None:
    augmentation = get_augmentation("cutdiff")
    black = torch.zeros(BATCH, 3, *SIZE, dtype=torch.float64)
    draw = augmentation.draw(BATCH, SIZE, torch.Generator().manual_seed(0))
    with pytest.raises(VanishedGradient, match="exactly zero"):
        hypergradient(
            smooth(),
            augmentation.vector(),
            lambda a: augmentation.apply(black, a, draw),
            losses(black, picture(BATCH, 2)),
            INNER,
        )


def test_an_unknown_order_is_refused() -> None:
    vector, augment, both, _ = case("cutdiff")
    with pytest.raises(ValueError, match="order is 'second', but must be one of: exact, first"):
        hypergradient(smooth(), vector, augment, both, INNER, order="second")  # type: ignore[arg-type]
