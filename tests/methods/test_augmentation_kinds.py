"""Each augmentation beside CutDiff does what its paper says."""

from __future__ import annotations

import math

import pytest
import torch

from methods.augmentation import get_augmentation
from methods.augmentation.cutdiff import CUTDIFF, CUTDIFF_CHOLESKY
from methods.augmentation.mixture import mixture, mixture_weights
from tests.methods.pictures import picture, seeded


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
