"""Every registered augmentation keeps the same promises."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from methods.augmentation import Augmentation, augmentation_names, get_augmentation
from methods.augmentation.cutdiff import CUTDIFF
from methods.augmentation.registry import register_augmentation
from tests.methods.pictures import picture, seeded

NAMES = augmentation_names()
DIFFERENTIABLE = augmentation_names(True)
# Values away from a symmetry, at which one of the gradients would vanish.
GENERIC = {
    "log_size": math.log(0.03),
    "log_ratio": 0.2,
    "angle": 0.7,
    "amplitude": -0.45,
    "red": 0.3,
    "green": -0.6,
    "blue": 0.45,
    "log_width": math.log(0.08),
    "log_length": math.log(0.3),
    "spread": 0.5,
    "bend": 0.4,
    "opacity": 0.7,
    "jitter": 0.2,
    "log_area": math.log(0.08),
    "log_aspect": 0.3,
    "l11": 0.2,
    "l21": 0.05,
    "l22": 0.15,
}


def generic(augmentation: Augmentation) -> Tensor:
    """A vector at which every parameter matters."""
    values = {name: GENERIC.get(name.rsplit(".")[-1], 0.1) for name in augmentation.names}
    return augmentation.vector(values)


@pytest.fixture(params=NAMES)
def augmentation(request: pytest.FixtureRequest) -> Augmentation:
    return get_augmentation(request.param)


@pytest.fixture(params=DIFFERENTIABLE)
def differentiable(request: pytest.FixtureRequest) -> Augmentation:
    return get_augmentation(request.param)


# What every augmentation promises.


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 16, 16), (3, 9, 21), (2, 30, 7)])
def test_shape_range_and_change(
    augmentation: Augmentation, batch: int, height: int, width: int
) -> None:
    images = picture(batch, height, width).float()
    before = images.clone()
    size = (height, width)
    draw = augmentation.draw(batch, size, seeded())
    made = augmentation.apply(images, augmentation.project(augmentation.vector(), size), draw)
    assert made.shape == images.shape
    assert made.dtype == images.dtype
    assert made.min() >= 0 and made.max() <= 1
    assert torch.equal(images, before)
    assert not torch.equal(made, images)


def test_same_seed_same_draw_and_a_draw_replays(augmentation: Augmentation) -> None:
    images = picture(3, 12, 17)
    first = augmentation.draw(3, (12, 17), seeded(5))
    second = augmentation.draw(3, (12, 17), seeded(5))
    other = augmentation.draw(3, (12, 17), seeded(6))
    made = augmentation.apply(images, generic(augmentation), first)
    assert torch.equal(made, augmentation.apply(images, generic(augmentation), first))
    assert torch.equal(made, augmentation.apply(images, generic(augmentation), second))
    changed = not torch.equal(made, augmentation.apply(images, generic(augmentation), other))
    assert changed == (augmentation.name != "rotation")


def test_a_share_of_the_batch_is_a_share_of_the_result(augmentation: Augmentation) -> None:
    images = picture(4, 11, 13)
    draw = augmentation.draw(4, (11, 13), seeded())
    whole = augmentation.apply(images, generic(augmentation), draw)
    part = slice(2, 4)
    own = augmentation.apply(images[part], generic(augmentation), draw.share(part))
    torch.testing.assert_close(own, whole[part], rtol=0, atol=1e-14)


def test_a_vector_and_names_mean_the_same(augmentation: Augmentation) -> None:
    images = picture(2, 10, 10)
    vector = generic(augmentation)
    draw = augmentation.draw(2, (10, 10), seeded())
    by_name = dict(zip(augmentation.names, vector, strict=True))
    assert torch.equal(
        augmentation.apply(images, vector, draw), augmentation.apply(images, by_name, draw)
    )
    values = augmentation.values(vector)
    assert torch.equal(augmentation.vector(values), vector)


def test_a_batch_of_one_is_the_first_of_many(augmentation: Augmentation) -> None:
    images = picture(5, 8, 8)
    draw = augmentation.draw(5, (8, 8), seeded())
    many = augmentation.apply(images, generic(augmentation), draw)
    one = augmentation.apply(images[:1], generic(augmentation), draw.share(slice(1)))
    torch.testing.assert_close(one, many[:1], rtol=0, atol=1e-14)


def test_random_controls_and_starts_lie_within_the_bounds(augmentation: Augmentation) -> None:
    generator = seeded()
    assert set(augmentation.ranges) == set(augmentation.names)
    drawn = torch.stack([augmentation.sample((16, 24), generator) for _ in range(50)])
    again = augmentation.sample((16, 24), seeded())
    assert torch.equal(drawn[0], again)
    for vector in (*drawn, *augmentation.initial((16, 24))):
        augmentation.check(vector, (16, 24))
    assert (drawn.std(0) > 0).all()


def test_every_value_out_of_bounds_is_refused(augmentation: Augmentation) -> None:
    images = picture(1, 16, 16)
    draw = augmentation.draw(1, (16, 16), seeded())
    for index, declared in enumerate(augmentation.hyperparameters):
        for bad in (declared.low - 0.1, declared.high + 0.1, math.nan):  # type: ignore[operator]
            vector = generic(augmentation)
            vector[index] = bad
            with pytest.raises(ValueError, match=f"{declared.name} of .* is .*must be a number"):
                augmentation.apply(images, vector, draw)


def test_what_does_not_fit_is_refused(augmentation: Augmentation) -> None:
    vector = generic(augmentation)
    draw = augmentation.draw(2, (16, 16), seeded())
    with pytest.raises(ValueError, match="uint8"):
        augmentation.apply(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), vector, draw)
    with pytest.raises(ValueError, match="draw is for 2 images of 16 x 16"):
        augmentation.apply(picture(3, 16, 16), vector, draw)
    with pytest.raises(ValueError, match="there are 2 of 16 x 8"):
        augmentation.apply(picture(2, 16, 8), vector, draw)
    with pytest.raises(ValueError, match="must be \\["):
        augmentation.apply(picture(2, 16, 16), torch.cat([vector, vector]), draw)
    with pytest.raises(ValueError, match="but must be: "):
        augmentation.apply(picture(2, 16, 16), {}, draw)
    with pytest.raises(ValueError, match="has no parameter colour"):
        augmentation.vector({"colour": 1.0})
    with pytest.raises(ValueError, match="all must be >= 1"):
        augmentation.draw(0, (16, 16), seeded())


def test_gradients_are_those_of_finite_differences(differentiable: Augmentation) -> None:
    size = (7, 9)
    draw = differentiable.draw(2, size, seeded(3))
    images = (0.1 + 0.8 * picture(2, *size)).requires_grad_()
    vector = generic(differentiable).requires_grad_()

    def made(images: Tensor, vector: Tensor) -> Tensor:
        return differentiable.apply(images, vector, draw)

    assert torch.autograd.gradcheck(made, (images, vector), eps=1e-6, atol=1e-6)
    (gradient,) = torch.autograd.grad(made(images, vector).square().sum(), vector)
    assert (gradient != 0).all()


@pytest.mark.parametrize("name", augmentation_names(False))
def test_a_gradient_that_does_not_exist_is_refused(name: str) -> None:
    augmentation = get_augmentation(name)
    images = picture(1, 16, 16).requires_grad_()
    draw = augmentation.draw(1, (16, 16), seeded())
    with pytest.raises(ValueError, match=f"a gradient in .* {name} is not differentiable"):
        augmentation.apply(images, augmentation.vector().requires_grad_(), draw)
    # In the images there is one.
    augmentation.apply(images, augmentation.vector(), draw).sum().backward()
    assert images.grad is not None and (images.grad != 0).any()
    with torch.no_grad():
        augmentation.apply(images, augmentation.vector().requires_grad_(), draw)


# The registry.


def test_registry_refuses_what_it_does_not_know() -> None:
    assert set(DIFFERENTIABLE).isdisjoint(augmentation_names(False))
    with pytest.raises(ValueError, match="augmentation is 'cutmix', but must be one of: cutdiff,"):
        get_augmentation("cutmix")
    with pytest.raises(ValueError, match="'cutout', which cannot be learned by gradient; one of"):
        get_augmentation("cutout", differentiable=True)
    with pytest.raises(ValueError, match="registered already"):
        register_augmentation(CUTDIFF)
