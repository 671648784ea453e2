"""CutDiff does what its paper says."""

from __future__ import annotations

import math

import pytest
import torch

from methods.augmentation import get_augmentation, patch
from methods.augmentation.cutdiff import CUTDIFF, CUTDIFF_CHOLESKY
from tests.methods.pictures import picture, seeded


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
