"""Several workers find the hypergradient of one worker with the joined batch."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from methods.augmentation import get_augmentation
from methods.contract import Context, Diverged
from methods.hypergradient.derivative import Hypergradient, hypergradient
from methods.hypergradient.inner_step import Losses
from methods.hypergradient.workers import join, mean_over_workers
from tests.methods.hypergradient_toys import (
    GENERIC,
    INNER,
    SIZE,
    case,
    losses,
    picture,
    smooth,
    some_velocity,
)
from tests.methods.threads import in_threads


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
