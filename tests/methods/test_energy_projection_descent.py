"""Descent in input space: updates by hand, gradients through the network, freezing, faults."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from methods.energy_projection.descent import (
    Descent,
    Optimiser,
    ProjectionDiverged,
    Update,
    project,
)
from methods.energy_projection.model import KINDS, VARIATIONAL, EnergyModel
from methods.networks.bergmann import BergmannAutoencoder

PULL = 0.5  # the toy network f(x) = PULL x + OFFSET, whose Jacobian is PULL everywhere
OFFSET = 0.2


def toy(images: Tensor) -> tuple[Tensor, Tensor]:
    reconstruction = PULL * images + OFFSET
    return (images - reconstruction).square().flatten(1).sum(1), reconstruction


def pixels(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def test_two_standard_steps_by_hand() -> None:
    # Eq. 5. x - f = 0.5 x - 0.2; the gradient is 2 (1 - 0.5) (x - f) = x - f, and + lambda sign.
    x0, alpha, weight = 0.8, 0.1, 0.05
    x1 = x0 - alpha * (0.5 * x0 - 0.2)  # sign(0) = 0: the first step feels no anchor
    x2 = x1 - alpha * ((0.5 * x1 - 0.2) - weight)
    descent = Descent("standard", step_size=alpha, l1_weight=weight)
    first, second = project(toy, pixels(x0), descent, [1, 2]).images
    assert first.item() == pytest.approx(x1, abs=1e-12)
    assert second.item() == pytest.approx(x2, abs=1e-12)


def test_two_weighted_steps_by_hand() -> None:
    # Eq. 8: the anchor is weighted too.
    x0, alpha, weight = 0.9, 2.0, 0.05
    error = 0.5 * x0 - 0.2
    x1 = x0 - alpha * error * error**2
    error = 0.5 * x1 - 0.2
    x2 = x1 - alpha * (error - weight) * error**2
    descent = Descent("weighted", step_size=alpha, l1_weight=weight)
    found = project(toy, pixels(x0), descent, [2, 0, 1]).images
    assert [f.item() for f in found] == pytest.approx([x2, x0, x1], abs=1e-12)


def test_adams_first_step_is_the_step_size_wherever_there_is_a_gradient() -> None:
    descent = Descent("standard", "adam", step_size=0.01, l1_weight=0.0)
    start = pixels(0.9, 0.1, 0.4)  # the last is where x = f(x)
    (found,) = project(toy, start, descent, [1]).images
    torch.testing.assert_close(found, pixels(0.89, 0.11, 0.4), atol=1e-6, rtol=0)


def test_a_mask_keeps_everything_else_as_it_was() -> None:
    start = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(2, 1, 4, 4)
    mask[..., :2] = 1
    descent = Descent("standard", step_size=0.1)
    (found,) = project(toy, start, descent, [5], mask).images
    assert torch.equal(found[..., 2:], start[..., 2:])
    assert (found[..., :2] != start[..., :2]).all()


def test_a_step_is_as_long_as_the_equation_says_and_stops_at_the_range() -> None:
    # x - f is 0.3, 0.15 and -0.2, and so is the gradient.
    start = pixels(1.0, 0.7, 0.0)
    (found,) = project(toy, start, Descent("standard", step_size=1.5, l1_weight=0.0), [1]).images
    torch.testing.assert_close(found, pixels(0.55, 0.475, 0.3))
    # 0.3 - 0.35 and 0.9 + 0.15, with an energy that pulls that far.
    far = pixels(0.3, 0.9)
    pull = torch.tensor([0.35, -0.15], dtype=torch.float64)
    (found,) = project(
        lambda at: ((at * pull).flatten(1).sum(1), at), far, Descent("standard", step_size=1.0), [1]
    ).images
    torch.testing.assert_close(found, pixels(0.0, 1.0))


def test_finished_images_are_frozen_and_no_longer_computed() -> None:
    seen: list[int] = []

    def watched(images: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(len(images))
        return toy(images)

    start = torch.cat([pixels(0.9), pixels(0.45), pixels(0.4), pixels(0.7)])
    descent = Descent("standard", step_size=0.1, l1_weight=0.0, threshold=0.01)
    found = project(watched, start, descent, [3, 60]).images
    assert seen[0] == 4 and seen[1] == 2 and seen[-1] == 1 and len(seen) < 60
    assert torch.equal(found[1][1:3], start[1:3])  # finished before their first step
    losses = toy(found[1])[0]
    assert (losses <= 0.01).all() and (losses[[0, 3]] > 0.008).all()
    alone = torch.cat([project(watched, one[None], descent, [60]).images[0] for one in start])
    assert torch.equal(alone, found[1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_flows_through_the_network(kind: str) -> None:
    network = BergmannAutoencoder((16, 16), 2, 4, kind in VARIATIONAL, seed=3)
    model = EnergyModel(kind, network, -1.0).double().requires_grad_(False)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    start = torch.rand(1, 3, 16, 16, generator=generator, dtype=torch.float64) * 0.5 + 0.25

    def evaluate(images: Tensor) -> tuple[Tensor, Tensor]:
        reconstruction = model(images)
        return model.reconstruction_loss(images, reconstruction), reconstruction

    alpha, step = 1e-5, 1e-6
    (moved,) = project(evaluate, start, Descent("standard", "plain", alpha, 0.0), [1]).images
    gradient = (start - moved) / alpha
    flat = torch.randperm(start.numel(), generator=generator)[:12]
    for place in flat:
        nudge = torch.zeros_like(start)
        nudge.view(-1)[place] = step
        difference = evaluate(start + nudge)[0] - evaluate(start - nudge)[0]
        expected = difference.item() / (2 * step)
        assert gradient.view(-1)[place].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_step_too_long_is_taken_back_and_halved() -> None:
    def steep(images: Tensor) -> tuple[Tensor, Tensor]:
        """A narrow valley at 0.5: a step from beside it lands high on the other side."""
        return (100 * (images - 0.5)).square().flatten(1).sum(1), torch.zeros_like(images)

    start = pixels(0.52)
    descent = Descent("standard", step_size=3e-4, l1_weight=0.0)
    first, second, third, last = project(steep, start, descent, [1, 2, 3, 40]).images
    # Six times what is needed: it lands at 0.4, half of that at 0.46, a quarter at 0.49.
    assert torch.equal(first, start) and torch.equal(second, start)
    assert third.item() == pytest.approx(0.49)
    assert abs(last.item() - 0.5) < 1e-3


class Identity(torch.autograd.Function):
    """Images as they are, kept for a gradient of one's own."""

    @staticmethod
    def forward(context, images):  # type: ignore[no-untyped-def]
        context.save_for_backward(images)
        return images.clone()


class Backwards(Identity):
    """The identity, with a gradient that is far too long where images are above 0.7 or so."""

    @staticmethod
    def backward(context, gradient):  # type: ignore[no-untyped-def]
        (images,) = context.saved_tensors
        return torch.where(images > 0.7, -gradient, gradient)


class Spoilt(Identity):
    """The identity, with a gradient that is not a number where images are below 0.3."""

    @staticmethod
    def backward(context, gradient):  # type: ignore[no-untyped-def]
        (images,) = context.saved_tensors
        return torch.where(images < 0.3, math.nan, gradient)


@pytest.mark.parametrize(("optimiser", "step_size"), [("plain", 0.3), ("adam", 0.05)])
def test_an_image_that_diverges_stays_where_it_was_good_and_the_others_do_not_notice(
    optimiser: Optimiser, step_size: float
) -> None:
    def lying(images: Tensor) -> tuple[Tensor, Tensor]:
        """The toy, flat but for a cliff at 0.8 that its gradient leads uphill."""
        away = Spoilt.apply(Backwards.apply(images))
        losses, reconstruction = toy(away)
        return losses + 1e3 * (images > 0.8).flatten(1).any(1), reconstruction

    start = torch.cat([pixels(0.8), pixels(0.1), pixels(0.6), pixels(0.5)])
    descent = Descent("standard", optimiser, step_size, l1_weight=0.0)
    for last in (4, 40):  # the walk ends while the step is still being halved, and after that
        found = project(lying, start, descent, [1, last])
        for images in found.images:
            assert images.isfinite().all() and torch.equal(images[:2], start[:2])
        assert found.diverged.tolist() == [True, True, False, False]
        assert not found.stalled[:2].any()
        for row, one in enumerate(start):
            alone = project(lying, one[None], descent, [1, last])
            assert torch.equal(alone.images[1][0], found.images[1][row])
            assert bool(alone.diverged) == bool(found.diverged[row])
    assert found.images[1][2].item() < 0.45


def test_an_image_whose_energy_has_converged_is_frozen() -> None:
    looks = 0

    def watched(images: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal looks
        looks += 1
        return toy(images)

    # The gradient at the start is weaker than the anchor: the start is the minimum, which the first
    # proximal step finds.
    start = pixels(0.41)
    found = project(watched, start, Descent("standard", step_size=0.1, l1_weight=1.0), [100])
    assert torch.equal(found.images[0], start) and looks == 2
    assert found.stalled.all() and not found.diverged.any()


def towards(target: Tensor, curvature: float = 1.0):  # type: ignore[no-untyped-def]
    """A loss whose minimum lies at a target, and a reconstruction that is wrong by 1 everywhere."""

    def evaluate(images: Tensor) -> tuple[Tensor, Tensor]:
        losses = curvature / 2 * (images - target).square().flatten(1).sum(1)
        return losses, images - 1

    return evaluate


@pytest.mark.parametrize("update", ["standard", "weighted"])
def test_an_image_most_of_whose_gradient_is_weaker_than_the_anchor_reaches_the_minimum(
    update: Update,
) -> None:
    # Gradients of 0.02 to 0.3 against an anchor of 0.05. Where an energy is quadratic in each
    # pixel, its minimum is the target, drawn back towards the start by the anchor.
    generator = torch.Generator().manual_seed(5)
    start = 0.4 + 0.2 * torch.rand(1, 1, 8, 8, generator=generator, dtype=torch.float64)
    sign = torch.rand(start.shape, generator=generator).round() * 2 - 1
    away = torch.full_like(start, 0.02)
    away[..., :1] = 0.3
    target, weight = start + sign * away, 0.05
    found = project(towards(target), start, Descent(update, "plain", 0.5, weight), [60])
    minimum = start + sign * (away - weight).clamp(min=0)
    torch.testing.assert_close(found.images[0], minimum, atol=1e-5, rtol=0)
    assert not found.diverged.any()


def test_where_the_energy_rose_adam_begins_anew_at_the_point_that_was_kept() -> None:
    # The first step leads from 0.9 to 0.8, the second over the valley at 0.77 and too far up. A
    # fresh Adam steps half as far as at first, whatever the old one saw.
    descent = Descent("standard", "adam", step_size=0.1, l1_weight=0.0)
    walked = project(towards(pixels(0.77), 100.0), pixels(0.9), descent, range(4)).images
    assert [image.item() for image in walked] == pytest.approx([0.9, 0.8, 0.8, 0.75], abs=1e-6)


@pytest.mark.parametrize("update", ["standard", "weighted"])
@pytest.mark.parametrize("optimiser", ["plain", "adam"])
def test_no_energy_ends_above_where_it_began(update: Update, optimiser: Optimiser) -> None:
    start = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    descent = Descent(update, optimiser, 0.9, 0.1)

    def energy(images: Tensor) -> Tensor:
        return toy(images)[0] + 0.1 * (images - start).abs().flatten(1).sum(1)

    walked = [start, *project(toy, start, descent, range(1, 12)).images]
    for one, two in itertools.pairwise(map(energy, walked)):
        assert (two <= one * 1.0001).all()
    assert (energy(walked[-1]) < energy(start)).any()


def test_an_energy_that_is_not_a_number_from_the_start_is_an_error_with_a_cure() -> None:
    def broken(images: Tensor) -> tuple[Tensor, Tensor]:
        losses, reconstruction = toy(images)
        return torch.where(images.flatten(1).amax(1) > 0.6, math.nan, losses), reconstruction

    start = torch.cat([pixels(0.5), pixels(0.8), pixels(0.4), pixels(0.9)])
    wanted = r"2 of 4 images.*before the first step.*image 1: nan.*step_size.*0\.5.*learning_rate"
    with pytest.raises(ProjectionDiverged, match=wanted):
        project(broken, start, Descent(), [3])


def test_a_callers_inference_mode_does_no_harm() -> None:
    plain = project(toy, pixels(0.9, 0.2), Descent(step_size=5.0), [4]).images[0]
    with torch.inference_mode():
        same = project(toy, pixels(0.9, 0.2), Descent(step_size=5.0), [4]).images[0]
    assert torch.equal(plain, same)
