"""What has no hypergradient is an error that says so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from methods.augmentation import get_augmentation
from methods.contract import Diverged
from methods.hypergradient.derivative import VanishedGradient, hypergradient
from methods.hypergradient.inner_step import Losses, Network, training_step
from tests.methods.hypergradient_toys import (
    BATCH,
    INNER,
    SIZE,
    case,
    losses,
    picture,
    smooth,
)


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
