"""The kinds of corruption beside occlusion: each alone by hand, and all of them as one recipe."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import spsolve
from torch import Tensor

from methods.augmentation import get_augmentation
from methods.augmentation.contract import Draw
from methods.corruption.blocks import draw_blocks, paint_blocks
from methods.corruption.cutdiff import draw_cutdiff, paint_cutdiff
from methods.corruption.kinds import ALL, OTHERS
from methods.corruption.masks import draw_masks
from methods.corruption.paste import draw_cutpaste, draw_scar, paint_paste
from methods.corruption.perlin import draw_perlin, perlin_masks
from methods.corruption.recipe import CorruptionRecipe, apply
from methods.corruption.seamless import draw_seamless, paint_seamless, poisson
from methods.corruption.textures import TextureSources, draw_textures, textures
from methods.gradient_noise import gradient_noise
from methods.registry import get_method

SIZE = (32, 40)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, size: tuple[int, int] = SIZE, seed: int = 1) -> Tensor:
    return 0.1 + 0.8 * torch.rand(count, 3, *size, generator=generator(seed))


def bank(size: tuple[int, int] = SIZE):  # type: ignore[no-untyped-def]
    normals = (255 * pictures(3, size, 5)).to(torch.uint8)
    return TextureSources(normals, None, count=6).bank(generator(7))


def alone(*names: str, **settings: float) -> CorruptionRecipe:
    shares = {f"{name}_share": float(name in names) for name in ALL}
    return CorruptionRecipe(**{**shares, "clean_share": 0.0, "opaque_share": 1.0, **settings})


def test_the_default_draws_what_it_always_drew() -> None:
    """Nothing more is taken from the generator, so that no draw behind it moves either."""
    recipe, one, other = CorruptionRecipe(), generator(3), generator(3)
    draw = recipe.draw(9, SIZE, one)
    assert draw.other is None
    regions = draw_masks(9, SIZE, other, recipe)
    filling = draw_textures(9, other, recipe, False)
    share = torch.rand(3, 9, generator=other)
    assert torch.equal(draw.regions.centre, regions.centre)
    assert torch.equal(draw.filling.frame, filling.frame)
    opacity = torch.where(share[0] < 0.5, 1.0, share[1])
    assert torch.equal(draw.opacity, torch.where(share[2] < 0.1, 0.0, opacity))
    assert torch.equal(one.get_state(), other.get_state())


def test_occlusions_are_the_same_beside_other_kinds() -> None:
    recipe = alone("occlusion", *OTHERS, opaque_share=0.3, clean_share=0.2)
    images, tiles = pictures(60), bank()
    draw = recipe.draw(60, SIZE, generator(2))
    assert draw.other is not None and len(draw.other.kind.unique()) == len(ALL)
    mixed, mask = apply(images, draw, tiles)
    plain, plain_mask = apply(images, dataclasses.replace(draw, other=None), tiles)
    occluded = draw.other.kind == ALL.index("occlusion")
    assert torch.equal(mixed[occluded], plain[occluded])
    assert torch.equal(mask[occluded], plain_mask[occluded])


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("size", [(16, 16), (24, 40), (64, 48)])
def test_every_kind_keeps_the_recipes_promises(name: str, size: tuple[int, int]) -> None:
    recipe = alone(name, opaque_share=0.5, clean_share=0.25)
    images, tiles = pictures(24, size), bank(size)
    before = images.clone()
    draw = recipe.draw(24, size, generator(4))
    result, mask = apply(images, draw, tiles)
    assert torch.equal(images, before)
    assert result.shape == images.shape and mask.shape == (24, 1, *size)
    assert result.isfinite().all() and result.min() >= 0 and result.max() <= 1
    assert mask.min() >= 0 and mask.max() <= 1
    # it changes images, where its mask says, and nowhere else
    assert ((result - images).abs() > 0.01).any()
    outside = (mask == 0).expand_as(images)
    assert torch.equal(result[outside], images[outside])
    clean = draw.opacity == 0
    assert clean.any() and not mask[clean].any() and torch.equal(result[clean], images[clean])
    # replayed, from the same seed, and in parts
    again = recipe.draw(24, size, generator(4))
    assert torch.equal(apply(images, again, tiles)[0], result)
    halves = [apply(images[part], draw[part], tiles) for part in (slice(12), slice(12, 24))]
    torch.testing.assert_close(torch.cat([h[0] for h in halves]), result, rtol=0, atol=2e-5)
    torch.testing.assert_close(torch.cat([h[1] for h in halves]), mask, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_opacity_takes_every_kind_from_nothing_to_all(name: str) -> None:
    images, tiles = pictures(8), bank()
    draw = alone(name).draw(8, SIZE, generator(1))
    full, mask = apply(images, draw, tiles)
    half = dataclasses.replace(draw, opacity=torch.full((8,), 0.5))
    result, half_mask = apply(images, half, tiles)
    torch.testing.assert_close(result, (images + full) / 2, rtol=0, atol=1e-5)
    torch.testing.assert_close(half_mask, mask / 2)


def test_kinds_follow_their_weights() -> None:
    recipe = alone("occlusion", "blocks", "scar", blocks_share=0.5, scar_share=0.5)
    draw = recipe.draw(4000, (8, 8), generator(0))
    assert draw.other is not None and draw.other.perlin is None
    counts = torch.bincount(draw.other.kind, minlength=len(ALL)) / 4000
    expected = [recipe.kind_share(name) / 2 for name in ALL]
    torch.testing.assert_close(counts, torch.tensor(expected), rtol=0, atol=0.03)


def test_families_name_what_is_drawn_and_what_looks_like_it() -> None:
    regions = {"blob", "stroke", "dots"}
    assert CorruptionRecipe().families() == regions
    assert alone("cutdiff").families() == {"cutdiff", "stain"}
    assert alone("occlusion", "scar", "perlin").families() == regions | {"scar", "perlin"}
    fae = get_method("fae")
    assert fae.families({"cutpaste_share": 0.5}) == regions | {"cutpaste", "patch"}
    with pytest.raises(ValueError, match=r"occlusion_share, cutdiff_share.* all 0"):
        alone().check()


# CutDiff.


def test_cutdiff_is_the_augmentation_and_its_mask_the_patch() -> None:
    recipe = alone("cutdiff", cutdiff_size=0.03, cutdiff_ratio=1.4, cutdiff_angle=0.6)
    images, draw = pictures(5), draw_cutdiff(5, SIZE, generator(2), recipe)
    changed, mask = paint_cutdiff(images, draw)
    augmentation = get_augmentation("cutdiff")
    values = {"log_size": math.log(0.03), "log_ratio": math.log(1.4), "angle": 0.6}
    place = Draw(SIZE, {"centre": draw.centre})
    torch.testing.assert_close(
        changed, augmentation.apply(images, augmentation.vector(values), place)
    )
    white = torch.ones_like(images)
    torch.testing.assert_close(mask, 1 - paint_cutdiff(white, draw)[0][:, :1])
    faint = dataclasses.replace(draw, amplitude=torch.full((5,), -0.25))
    brightened, quarter = paint_cutdiff(images, faint)
    torch.testing.assert_close(quarter, mask / 4)
    assert (brightened >= images).all()


def test_a_cutdiff_that_images_cannot_show_is_enlarged() -> None:
    draw = draw_cutdiff(2, (16, 16), generator(), CorruptionRecipe(cutdiff_size=1e-5))
    assert math.exp(float(draw.log_size[0]) / 2) * 16 == pytest.approx(0.5)


# CutPaste and its scar.


def test_a_box_is_a_copy_of_another_place() -> None:
    images = pictures(40)
    draw = draw_cutpaste(40, SIZE, generator(3))
    changed, mask = paint_paste(images, dataclasses.replace(draw, colour=0 * draw.colour))
    share = mask.mean((1, 2, 3))
    assert share.min() > 0.01 and share.max() < 0.17
    assert share.std() > 0.01  # every sample has a size of its own
    for image, after, where in zip(images, changed, mask[:, 0].bool(), strict=True):
        rows, columns = where.nonzero(as_tuple=True)
        height, width = (int(v.max() - v.min() + 1) for v in (rows, columns))
        assert len(rows) == height * width  # an upright box, all of it in the image
        piece = after[:, where].view(3, height, width)
        places = image.unfold(1, height, 1).unfold(2, width, 1)
        assert (places - piece[:, None, None]).abs().amax((0, 3, 4)).min() < 1e-6


def test_scars_are_thin_turned_and_of_the_papers_lengths() -> None:
    size = (256, 256)
    draw = draw_scar(200, size, generator(3))
    pixels = 2 * 256 * draw.half
    assert pixels[:, 0].min() >= 10 and pixels[:, 0].max() <= 25
    assert pixels[:, 1].min() >= 2 and pixels[:, 1].max() <= 16
    assert draw.angle.abs().max() <= math.pi / 4 and draw.angle.std() > 0.3
    draw = dataclasses.replace(draw[:20], centre=torch.full((20, 2), 0.5))
    mask = paint_paste(pictures(20, size), draw)[1]
    area = (pixels[:20, 0] * pixels[:20, 1]).double()
    torch.testing.assert_close(mask.sum((1, 2, 3)).double(), area, rtol=0.3, atol=6)


# Perlin masks.


def test_perlin_masks_are_where_the_noise_is_high() -> None:
    draw = draw_perlin(60, SIZE, generator(1))
    assert set(draw.cells.flatten().tolist()) == {1.0, 2.0, 4.0, 8.0, 16.0, 32.0}
    mask = perlin_masks(draw, SIZE)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert 0.02 < mask.mean() < 0.25
    straight = dataclasses.replace(draw, turn=0 * draw.turn)
    y = (torch.arange(32) + 0.5).view(1, -1, 1) / 32 * draw.cells[:, :1, None]
    x = (torch.arange(40) + 0.5).view(1, 1, -1) / 40 * draw.cells[:, 1:, None]
    noise = gradient_noise(draw.lattice, y.expand(-1, -1, 40), x.expand(-1, 32, -1))
    far = (noise - 0.5).abs() > 1e-4
    assert torch.equal(perlin_masks(straight, SIZE)[:, 0][far], (noise > 0.5).float()[far])


def test_gradient_noise_by_hand() -> None:
    lattice = torch.tensor([[[0.0, math.pi / 2], [math.pi, 0.3]]])
    zero = gradient_noise(lattice, torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    assert float(zero) == pytest.approx(0, abs=1e-7)  # at a node
    # half-way, the corners' slopes along their gradients, with even weights
    middle = gradient_noise(lattice, torch.full((1, 1, 1), 0.5), torch.full((1, 1, 1), 0.5))
    corners = [
        math.cos(a) * dx + math.sin(a) * dy
        for a, dx, dy in (
            (0, 0.5, 0.5),
            (math.pi / 2, -0.5, 0.5),
            (math.pi, 0.5, -0.5),
            (0.3, -0.5, -0.5),
        )
    ]
    assert float(middle) == pytest.approx(math.sqrt(2) * sum(corners) / 4, rel=1e-5)


def test_a_perlin_region_is_filled_like_an_occlusion() -> None:
    images, tiles, recipe = pictures(12), bank(), alone("perlin")
    draw = recipe.draw(12, SIZE, generator(2))
    result, mask = apply(images, draw, tiles)
    filling = textures(draw.filling, tiles, SIZE)
    torch.testing.assert_close(result, mask * filling + (1 - mask) * images)


# Seamless patches.


def test_the_poisson_solver_against_a_sparse_one() -> None:
    density = torch.randn(3, 2, 9, 9, generator=generator())
    counts = torch.tensor([[9, 9], [4, 7], [1, 1]])
    found = poisson(density, counts)
    for b, (height, width) in enumerate(counts.tolist()):
        line = [sparse.diags([-1.0, 2.0, -1.0], [-1, 0, 1], shape=(n, n)) for n in (height, width)]
        matrix = sparse.kron(line[0], sparse.eye(width)) + sparse.kron(sparse.eye(height), line[1])
        for channel in range(2):
            right = density[b, channel, :height, :width].double().numpy().ravel()
            expected = np.asarray(spsolve(matrix.tocsc(), right)).reshape(height, width)
            torch.testing.assert_close(
                found[b, channel, :height, :width].double(), torch.from_numpy(expected),
                rtol=1e-4, atol=1e-5,
            )  # fmt: skip
        assert not found[b, :, height:].any() and not found[b, :, :, width:].any()


def test_a_seamless_patch_has_the_sources_gradients_and_the_images_border() -> None:
    images = 0.3 + 0.4 * pictures(16)
    draw = draw_seamless(16, SIZE, generator(5))
    plain = dataclasses.replace(draw, mixed=torch.zeros(16, dtype=torch.bool))
    changed, mask = paint_seamless(images, plain)
    assert torch.equal(changed[mask.expand_as(images) == 0], images[mask.expand_as(images) == 0])
    inner = torch.zeros_like(mask)
    inner[:, :, 1:-1, 1:-1] = 1
    assert torch.equal(mask * inner, mask)  # its border lies in the image

    # A patch of constant gradients, here none, is the membrane through the border's values.
    flat = torch.full_like(images, 0.5)
    torch.testing.assert_close(paint_seamless(flat, plain)[0], flat, rtol=0, atol=1e-6)
    ramp = torch.linspace(0.2, 0.8, SIZE[1]).expand(16, 3, *SIZE).contiguous()
    still = dataclasses.replace(plain, resize=torch.ones(16), source=torch.full((16, 2), 0.5),
                                half=plain.half.clamp(max=0.2))  # fmt: skip
    torch.testing.assert_close(paint_seamless(ramp, still)[0], ramp, rtol=0, atol=1e-5)


def test_mixed_gradients_keep_the_images_own_edges() -> None:
    """Blended with nothing at all, a patch loses its texture, and with mixed gradients keeps it."""
    image = torch.full((1, 3, *SIZE), 0.5)
    image[:, :, :, 20:] += 0.1 * torch.rand(1, 3, 32, 20, generator=generator(2))
    draw = draw_seamless(1, SIZE, generator(0))
    where = {"centre": torch.tensor([[0.5, 0.9]]), "source": torch.tensor([[0.5, 0.2]])}
    draw = dataclasses.replace(draw, half=torch.full((1, 2), 0.1), resize=torch.ones(1), **where)
    roughness = {}
    for mixed in (False, True):
        result, mask = paint_seamless(image, dataclasses.replace(draw, mixed=torch.tensor([mixed])))
        inside = mask[0, 0].bool()
        roughness[mixed] = float((result - image)[0][:, inside].abs().max())
    assert roughness[True] < 1e-6
    assert roughness[False] > 0.01


def test_half_sides_are_those_of_nsa() -> None:
    half = draw_seamless(20_000, SIZE, generator(1)).half
    assert half.min() >= 0.03 and half.max() <= 0.4
    # 0.03 and the mean of a Gamma(2, 0.05), less what 0.4 cuts off
    assert float(half.mean()) == pytest.approx(0.13, abs=0.002)


# Blocks.


def test_a_third_of_the_blocks_is_black() -> None:
    images = pictures(40, (32, 48))
    draw = draw_blocks(40, (32, 48), generator(1))
    assert set(draw.side.tolist()) == {2, 4, 8}  # 16 would be half of the shorter side
    changed, mask = paint_blocks(images, draw)
    for image, after, where, side in zip(images, changed, mask[:, 0], draw.side, strict=True):
        blocks = where.unfold(0, int(side), int(side)).unfold(1, int(side), int(side))
        filled = blocks.flatten(2).mean(2)
        assert set(filled.unique().tolist()) == {0.0, 1.0}
        assert int(filled.sum()) == math.ceil(filled.numel() / 3)
        assert not after[:, where.bool()].any()
        assert torch.equal(after[:, ~where.bool()], image[:, ~where.bool()])
