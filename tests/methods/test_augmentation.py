"""Every registered augmentation keeps the same promises; each also does what its paper says."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from methods.augmentation import Augmentation, augmentation_names, get_augmentation, patch
from methods.augmentation.cutdiff import CUTDIFF, CUTDIFF_CHOLESKY
from methods.augmentation.mixture import mixture, mixture_weights
from methods.augmentation.registry import register_augmentation

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


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=seeded(seed), dtype=torch.float64)


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


# CutDiff.


def test_cutdiff_is_algorithm_2_by_hand() -> None:
    images = torch.full((2, 3, 3, 3), 0.9, dtype=torch.float64)
    draw = CUTDIFF_CHOLESKY.draw(2, (3, 3), seeded())
    made = CUTDIFF_CHOLESKY.apply(images, torch.tensor([0.5, 0.2, 0.4], dtype=torch.float64), draw)
    lower = torch.tensor([[0.5, 0.0], [0.2, 0.4]], dtype=torch.float64)
    inverse = torch.linalg.inv(lower @ lower.T)
    for image in range(2):
        for i in range(3):
            for j in range(3):
                place = torch.tensor([(i + 1) / 3, (j + 1) / 3], dtype=torch.float64)
                away = place - draw["centre"][image].double()
                expected = max(0.9 - math.exp(-float(away @ inverse @ away)), 0.0)
                assert made[image, :, i, j].tolist() == pytest.approx([expected] * 3, abs=1e-12)


@pytest.mark.parametrize(("log_ratio", "angle"), [(0.0, 0.0), (0.5, 0.3), (-0.4, 2.1), (0.3, -1.0)])
def test_both_parametrisations_make_the_same_patch(log_ratio: float, angle: float) -> None:
    images = picture(2, 18, 25)
    draw = CUTDIFF.draw(2, (18, 25), seeded())
    size = 0.04
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]],
        dtype=torch.float64,
    )
    axes = math.sqrt(size) * torch.exp(torch.tensor([-log_ratio, log_ratio], dtype=torch.float64))
    lower = torch.linalg.cholesky(turn @ torch.diag(axes**2) @ turn.T)
    shaped = CUTDIFF.vector({"log_size": math.log(size), "log_ratio": log_ratio, "angle": angle})
    torch.testing.assert_close(
        CUTDIFF.apply(images, shaped, draw),
        CUTDIFF_CHOLESKY.apply(images, torch.stack([lower[0, 0], lower[1, 0], lower[1, 1]]), draw),
        rtol=0,
        atol=1e-10,
    )


@pytest.mark.parametrize("size", [(256, 256), (128, 512)])
def test_size_is_an_area(size: tuple[int, int]) -> None:
    draw = CUTDIFF.draw(1, size, seeded())
    draw.rows["centre"].fill_(0.5)
    parameters = CUTDIFF.named(CUTDIFF.vector({"log_size": math.log(0.01), "log_ratio": 0.3}))
    share = (patch.shaped_patch(parameters, draw.to(torch.zeros(1).double())) > 0.5).double().mean()
    assert float(share) == pytest.approx(math.pi * math.log(2) * 0.01, rel=0.01)


def test_every_image_has_its_own_centre() -> None:
    draw = CUTDIFF.draw(64, (32, 32), seeded())
    assert len(draw["centre"].unique(dim=0)) == 64
    assert draw["centre"].min() >= 0 and draw["centre"].max() < 1


def test_a_patch_between_the_pixels_is_refused_and_project_mends_it() -> None:
    images = picture(1, 32, 32)
    draw = CUTDIFF.draw(1, (32, 32), seeded())
    small = CUTDIFF.vector({"log_size": math.log(1e-4)})
    with pytest.raises(
        ValueError, match=r"log_size of cutdiff is -9\.21.* at least -8\.31.*32 x 32"
    ):
        CUTDIFF.apply(images, small, draw)
    projected = CUTDIFF.project(small, (32, 32))
    assert math.exp(float(projected[0]) / 2) * 32 == pytest.approx(0.5)
    CUTDIFF.apply(images, projected, draw)
    CUTDIFF.apply(picture(1, 256, 256), small, CUTDIFF.draw(1, (256, 256), seeded()))


def test_project_keeps_the_directions_of_a_thin_ellipse() -> None:
    thin = CUTDIFF_CHOLESKY.vector({"l11": 0.3, "l21": 0.3, "l22": 0.004})
    with pytest.raises(ValueError, match="narrower than a pixel"):
        CUTDIFF_CHOLESKY.check(thin, (32, 32))
    l11, l21, l22 = CUTDIFF_CHOLESKY.project(thin, (32, 32)).tolist()
    before = torch.tensor([[0.3, 0.0], [0.3, 0.004]], dtype=torch.float64)
    after = torch.tensor([[l11, 0.0], [l21, l22]], dtype=torch.float64)
    old, old_axes = torch.linalg.eigh(before @ before.T)
    new, new_axes = torch.linalg.eigh(after @ after.T)
    assert math.sqrt(float(new[0])) * 32 == pytest.approx(0.5)
    assert float(new[1]) == pytest.approx(float(old[1]))
    assert abs(float(old_axes[:, 1] @ new_axes[:, 1])) == pytest.approx(1.0)


def test_project_wraps_angles_and_clamps_the_rest() -> None:
    wild = torch.tensor([3.0, -5.0, 3 * math.pi + 0.25], dtype=torch.float64)
    size, ratio, angle = CUTDIFF.project(wild, (32, 32)).tolist()
    assert (size, ratio) == (0.0, -2.0)
    assert angle == pytest.approx(0.25)
    turned = get_augmentation("rotation").project(torch.tensor([-math.pi / 2]), (32, 32))
    assert float(turned) == pytest.approx(3 * math.pi / 2)
    with pytest.raises(ValueError, match="is nan"):
        CUTDIFF.project(torch.tensor([math.nan, 0.0, 0.0]), (32, 32))


def test_starts_are_those_of_the_paper() -> None:
    sizes = [math.exp(float(start[0])) for start in CUTDIFF.initial((256, 256))]
    assert sizes == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    angles = [
        math.degrees(float(start[0])) for start in get_augmentation("rotation").initial((8, 8))
    ]
    assert angles == pytest.approx([45, 135, 225, 315])


def test_amplitude_one_is_the_paper_and_below_zero_is_bright() -> None:
    signed, coloured = get_augmentation("cutdiff-signed"), get_augmentation("cutdiff-coloured")
    images = picture(2, 16, 16)
    draw = signed.draw(2, (16, 16), seeded())
    shape = CUTDIFF.vector({"log_size": math.log(0.05), "log_ratio": 0.2, "angle": 0.4})
    one = torch.ones(1, dtype=torch.float64)
    dark = CUTDIFF.apply(images, shape, draw)
    torch.testing.assert_close(signed.apply(images, torch.cat([shape, one]), draw), dark)
    torch.testing.assert_close(
        coloured.apply(images, torch.cat([shape, one, one, one]), draw), dark
    )
    bright = signed.apply(images, torch.cat([shape, -one]), draw)
    assert (bright >= images).all() and (bright - images).max() > 0.3
    red = coloured.apply(images, torch.cat([shape, one, 0 * one, -one]), draw)
    assert (red[:, 0] <= images[:, 0]).all()
    assert torch.equal(red[:, 1], images[:, 1])
    assert (red[:, 2] >= images[:, 2]).all()


# The others.


def test_a_quarter_turn_is_exact_on_a_square() -> None:
    images = picture(2, 8, 8)
    rotation = get_augmentation("rotation")
    draw = rotation.draw(2, (8, 8), seeded())
    turned = rotation.apply(images, torch.tensor([math.pi / 2], dtype=torch.float64), draw)
    torch.testing.assert_close(turned, torch.rot90(images, 1, (2, 3)), rtol=0, atol=1e-12)


def test_a_rotation_does_not_shear_an_oblong() -> None:
    rotation = get_augmentation("rotation")
    images = torch.zeros(1, 3, 20, 60, dtype=torch.float64)
    images[:, :, 9:11, 25:35] = 1.0
    draw = rotation.draw(1, (20, 60), seeded())
    turned = rotation.apply(images, torch.tensor([math.pi / 2], dtype=torch.float64), draw)
    expected = torch.zeros_like(images)
    expected[:, :, 5:15, 29:31] = 1.0
    torch.testing.assert_close(turned, expected, rtol=0, atol=1e-12)


def test_a_straight_thread_is_a_long_thin_cutdiff() -> None:
    thread, signed = get_augmentation("thread"), get_augmentation("cutdiff-signed")
    images = picture(3, 24, 24)
    draw = thread.draw(3, (24, 24), seeded())
    width, length, angle = 0.04, 0.5, 0.3
    straight = thread.vector(
        {
            "log_width": math.log(width),
            "log_length": math.log(length),
            "angle": angle,
            "spread": 0.0,
            "bend": 0.0,
            "amplitude": -0.7,
        }
    )
    # CutDiff counts its ratio from its first axis, across which the thread is thin.
    same = signed.vector(
        {
            "log_size": math.log(width * length),
            "log_ratio": math.log(width / length) / 2,
            "angle": angle,
            "amplitude": -0.7,
        }
    )
    torch.testing.assert_close(
        thread.apply(images, straight, draw), signed.apply(images, same, draw)
    )


def test_threads_bend_and_turn_from_image_to_image() -> None:
    thread = get_augmentation("thread")
    images = torch.ones(2, 3, 32, 32, dtype=torch.float64)
    draw = thread.draw(2, (32, 32), seeded())
    draw.rows["centre"].fill_(0.5)
    straight = thread.vector({"spread": 0.0, "bend": 0.0})
    made = thread.apply(images, straight, draw)
    torch.testing.assert_close(made[0], made[1])
    for name in ("spread", "bend"):
        other = thread.apply(images, thread.vector({"spread": 0.0, "bend": 0.0, name: 1.0}), draw)
        assert not torch.allclose(other[0], other[1], atol=0.05)


def test_a_blend_of_no_opacity_is_the_image_and_of_full_opacity_its_texture() -> None:
    blend = get_augmentation("texture-blend")
    images = picture(4, 16, 16)
    draw = blend.draw(4, (16, 16), seeded())
    nothing = blend.vector({"opacity": 0.0})
    assert torch.equal(blend.apply(images, nothing, draw), images)
    everything = blend.vector({"log_size": 0.0, "opacity": 1.0, "jitter": 0.0})
    draw.rows["centre"].fill_(0.5)
    middle = blend.apply(images, everything, draw)[:, :, 7, 7]
    # In the centre stands a colour that the same image has somewhere else.
    for made, image in zip(middle, images, strict=True):
        assert (image.flatten(1) - made[:, None]).abs().amax(0).min() < 1e-12


@pytest.mark.parametrize(("height", "width"), [(20, 20), (12, 40)])
def test_cutout_is_one_black_box_of_its_area(height: int, width: int) -> None:
    cutout = get_augmentation("cutout")
    images = 0.5 + 0 * picture(50, height, width)
    draw = cutout.draw(50, (height, width), seeded())
    values = {"log_area": math.log(0.1), "log_aspect": math.log(0.4)}
    made = cutout.apply(images, cutout.vector(values), draw)
    area = 0.1 * height * width
    sides = round(math.sqrt(area * 0.4)), round(math.sqrt(area / 0.4))
    for image in made:
        rows, columns = (image[0] == 0).nonzero(as_tuple=True)
        assert len(rows) == sides[0] * sides[1]
        assert rows.max() - rows.min() + 1 == sides[0]
        assert columns.max() - columns.min() + 1 == sides[1]
    tops = {int((image[0] == 0).nonzero()[:, 0].min()) for image in made}
    assert {0, height - sides[0]} <= tops


def test_cutpaste_copies_a_box_of_the_same_image() -> None:
    cutpaste = get_augmentation("cutpaste")
    images = picture(6, 16, 16)
    draw = cutpaste.draw(6, (16, 16), seeded())
    made = cutpaste.apply(images, cutpaste.vector({"jitter": 0.0}), draw)
    side = round(math.sqrt(0.05 * 256))
    for before, after in zip(images, made, strict=True):
        rows, columns = (before != after).any(0).nonzero(as_tuple=True)
        top, left = int(rows.min()), int(columns.min())
        piece = after[:, top : top + side, left : left + side]
        places = before.unfold(1, side, 1).unfold(2, side, 1)
        distance = (places - piece[:, None, None]).abs().amax((0, 3, 4))
        assert distance.min() < 1e-12


def test_jitter_changes_the_piece_only() -> None:
    for name in ("cutpaste", "cutpaste-scar"):
        augmentation = get_augmentation(name)
        images = picture(6, 32, 32)
        draw = augmentation.draw(6, (32, 32), seeded())
        plain = augmentation.apply(images, augmentation.vector({"jitter": 0.0}), draw)
        tinted = augmentation.apply(images, augmentation.vector({"jitter": 0.5}), draw)
        changed = (plain != tinted).any(1)
        assert changed.any()
        assert 0.001 < changed.double().mean() < 0.1


def test_a_scar_is_a_thin_strip_of_the_same_image() -> None:
    scar = get_augmentation("cutpaste-scar")
    images = picture(40, 64, 64)
    draw = scar.draw(40, (64, 64), seeded())
    draw.rows["centre"].mul_(0.5).add_(0.25)
    values = {"log_width": math.log(0.06), "log_length": math.log(0.3), "jitter": 0.0}
    made = scar.apply(images, scar.vector(values), draw)
    changed = (made != images).any(1)
    assert float(changed.double().mean()) == pytest.approx(0.06 * 0.3, rel=0.1)
    for image, after, where in zip(images, made, changed, strict=True):
        colours = image.flatten(1)
        for colour in after[:, where].T[:5]:
            assert (colours - colour[:, None]).abs().amax(0).min() < 1e-12


# The mixture.


def test_a_mixture_with_one_heavy_weight_is_that_member() -> None:
    pair = mixture("pair", (CUTDIFF, get_augmentation("rotation")), temperature=0.05)
    images = picture(4, 12, 12)
    draw = pair.draw(4, (12, 12), seeded())
    vector = pair.vector({"logit.cutdiff": 5.0, "logit.rotation": -5.0})
    alone = CUTDIFF.apply(images, CUTDIFF.vector(), draw.under("cutdiff"))
    torch.testing.assert_close(pair.apply(images, vector, draw), alone, rtol=0, atol=1e-6)


def test_cold_weights_choose_each_member_as_often_as_its_probability() -> None:
    pair = mixture("pair", (CUTDIFF, get_augmentation("rotation")), temperature=0.05)
    draw = pair.draw(20_000, (1, 1), seeded())
    logits = torch.tensor([1.0, 0.0])
    weights = torch.softmax((logits + draw["gumbel"]) / 0.05, dim=1)
    expected = mixture_weights({"logit.cutdiff": 1.0, "logit.rotation": 0.0})
    assert expected["cutdiff"] == pytest.approx(math.e / (1 + math.e))
    assert float(weights.mean(0)[0]) == pytest.approx(expected["cutdiff"], abs=0.01)
    assert (weights.amax(1) > 0.99).double().mean() > 0.9


def test_a_mixture_of_too_few_or_unlearnable_members_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more different"):
        mixture("m", (CUTDIFF,))
    with pytest.raises(ValueError, match="two or more different"):
        mixture("m", (CUTDIFF, CUTDIFF))
    with pytest.raises(ValueError, match="cutout cannot be learned by gradient"):
        mixture("m", (CUTDIFF, get_augmentation("cutout")))
    with pytest.raises(ValueError, match="temperature is 0"):
        mixture("m", (CUTDIFF, CUTDIFF_CHOLESKY), temperature=0.0)
