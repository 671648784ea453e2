import dataclasses

import pytest
import torch

from methods.corruption.hyperparameters import CORRUPTION
from methods.corruption.masks import BLOB, DOTS, STROKE, masks, stamps
from methods.corruption.noise import draw_noise
from methods.corruption.procedural import perlin, procedural
from methods.corruption.recipe import CorruptionDraw, CorruptionRecipe, apply
from methods.corruption.rows import choose
from methods.corruption.textures import (
    CONSTANT,
    POOL,
    PROCEDURAL,
    TextureSources,
    textures,
)

SIZE = (32, 32)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normals(count=6, size=SIZE, seed=5):
    return torch.randint(0, 256, (count, 3, *size), generator=generator(seed)).to(torch.uint8)


def bank(size=SIZE, pool=None, seed=7):
    return TextureSources(normals(size=size), pool, count=8).bank(generator(seed))


def leaves(draw):
    for field in dataclasses.fields(draw):
        value = getattr(draw, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value)
        elif value is not None:
            yield value


def only(kind, **settings):
    shares = {"blob_share": 0.0, "stroke_share": 0.0, "dots_share": 0.0}
    return CorruptionRecipe(**{**shares, f"{kind}_share": 1.0, "clean_share": 0.0, **settings})


def test_the_declared_hyperparameters_are_the_recipe():
    recipe = CorruptionRecipe()
    declared = {p.name: p.default for p in CORRUPTION}
    assert declared == dataclasses.asdict(recipe)
    changed = CorruptionRecipe.from_values({**declared, "blob_size": 0.3, "steps": 9})
    assert changed == dataclasses.replace(recipe, blob_size=0.3)


def test_the_same_seed_draws_the_same_and_another_seed_does_not():
    recipe = CorruptionRecipe()
    one, two = (recipe.draw(8, SIZE, generator(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(leaves(one), leaves(two), strict=True))
    other = recipe.draw(8, SIZE, generator(4))
    assert not torch.equal(one.opacity, other.opacity)


def test_a_draw_is_replayed_and_leaves_its_arguments_alone():
    images, tiles = torch.rand(8, 3, *SIZE, generator=generator(1)), bank()
    draw = CorruptionRecipe().draw(8, SIZE, generator(2))
    before, kept = images.clone(), [leaf.clone() for leaf in leaves(draw)]
    first, second = apply(images, draw, tiles), apply(images, draw, tiles)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert torch.equal(images, before)
    assert all(torch.equal(a, b) for a, b in zip(leaves(draw), kept, strict=True))


def test_parts_of_a_draw_make_the_whole_batch():
    images, tiles = torch.rand(12, 3, *SIZE, generator=generator(1)), bank()
    draw = CorruptionRecipe().draw(12, SIZE, generator(2))
    whole, mask = apply(images, draw, tiles)
    for ranks in (2, 3, 12):
        parts = [slice(i, i + 12 // ranks) for i in range(0, 12, 12 // ranks)]
        pieces = [apply(images[part], draw[part], tiles) for part in parts]
        torch.testing.assert_close(torch.cat([p[0] for p in pieces]), whole, rtol=0, atol=1e-5)
        torch.testing.assert_close(torch.cat([p[1] for p in pieces]), mask, rtol=0, atol=1e-5)


def test_the_result_is_the_image_outside_and_the_texture_inside():
    images, tiles = torch.rand(16, 3, *SIZE, generator=generator(1)), bank()
    draw = CorruptionRecipe(clean_share=0.0).draw(16, SIZE, generator(2))
    result, mask = apply(images, draw, tiles)
    filling = textures(draw.filling, tiles, SIZE)
    torch.testing.assert_close(result, mask * filling + (1 - mask) * images)
    outside = (mask == 0).expand_as(images)
    assert torch.equal(result[outside], images[outside])
    assert result.min() >= 0 and result.max() <= 1


def test_opacity_reaches_from_nearly_zero_to_one_and_shares_hold():
    recipe = CorruptionRecipe(opaque_share=0.4, clean_share=0.25)
    opacity = recipe.draw(4000, SIZE, generator(0)).opacity
    assert abs((opacity == 0).float().mean() - 0.25) < 0.03
    partial = opacity[opacity > 0]
    assert abs((partial == 1).float().mean() - 0.4) < 0.03
    assert partial.min() < 0.01
    see_through = partial[partial < 1]
    assert abs(see_through.mean() - 0.5) < 0.03


def test_clean_samples_come_back_unchanged_with_an_empty_mask():
    images = torch.rand(16, 3, *SIZE, generator=generator(1))
    draw = CorruptionRecipe(clean_share=0.9).draw(16, SIZE, generator(2))
    result, mask = apply(images, draw, bank())
    clean = draw.opacity == 0
    assert clean.any()
    assert torch.equal(result[clean], images[clean]) and not mask[clean].any()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", ["blob", "stroke", "dots"])
def test_masks_are_smooth_small_and_never_empty(kind, seed):
    recipe = only(kind)
    draw = recipe.draw(64, (64, 64), generator(seed))
    assert recipe.families() == {kind}
    mask = masks(draw.regions, (64, 64))
    area = mask.mean(dim=(1, 2, 3))
    assert mask.min() >= 0 and mask.max() <= 1
    assert ((mask > 0.05) & (mask < 0.95)).flatten(1).any(dim=1).float().mean() > 0.9
    assert area.max() < 0.35
    assert (area > 0.0004).float().mean() > 0.95


def test_the_area_stays_bounded_for_the_largest_blobs():
    draw = only("blob", blob_size=0.4, components=8, clean_share=0.0).draw(64, SIZE, generator(0))
    assert masks(draw.regions, SIZE).mean(dim=(1, 2, 3)).max() < 0.4


def test_between_one_and_the_set_number_of_components():
    kinds = CorruptionRecipe(components=3).draw(3000, SIZE, generator(0)).regions.kind
    count = (kinds >= 0).sum(dim=1)
    assert count.min() == 1 and count.max() == 3
    assert abs((count == 2).float().mean() - 1 / 3) < 0.04
    share = [(kinds == k).sum() / count.sum() for k in (BLOB, STROKE, DOTS)]
    torch.testing.assert_close(torch.stack(share), torch.tensor([0.6, 0.3, 0.1]), rtol=0, atol=0.02)


def test_a_blob_without_displacement_is_the_ellipse_of_its_axes():
    draw = only("blob", components=1, blob_deformation=0.0).draw(1, (96, 96), generator(3))
    axes, angle = torch.tensor([0.2, 0.1]), torch.tensor(0.7)
    regions = dataclasses.replace(
        draw.regions,
        centre=torch.tensor([[[0.5, 0.45]]]),
        axes=axes.view(1, 1, 2),
        angle=angle.view(1, 1),
        edge=torch.tensor([1 / 96]),
    )
    line = (torch.arange(96) + 0.5) / 96
    x, y = line - 0.5, line[:, None] - 0.45
    along = (x * angle.cos() + y * angle.sin()) / axes[0]
    across = (y * angle.cos() - x * angle.sin()) / axes[1]
    expected = (along**2 + across**2 <= 1).float()
    mask = masks(regions, (96, 96))[0, 0]
    assert ((mask > 0.5).float() - expected).abs().mean() < 0.003
    assert abs(mask.mean() - torch.pi * 0.2 * 0.1) < 0.002


def test_a_displacement_has_the_length_it_was_given():
    warp = torch.randn(3, 2, 8, 8, generator=generator(0))
    axes, edge = torch.full((3, 2), 0.2), torch.full((3,), 1.0)
    still = stamps(axes, warp, torch.zeros(3), edge)
    moved = stamps(axes, warp, torch.full((3,), 0.5), edge)
    # far out the level falls by its distance, so a shift of half an axis bounds the change
    change = (moved - still).abs().amax(dim=(1, 2))
    assert (change > 0.02).all() and (change < 0.2).all()


def test_a_straight_stroke_has_its_length_and_width():
    draw = only("stroke", components=1).draw(1, (64, 64), generator(1))
    path = torch.stack([torch.linspace(0.25, 0.75, 32), torch.full((32,), 0.5)], dim=1)
    regions = dataclasses.replace(
        draw.regions,
        path=path.view(1, 1, 32, 2),
        radius=torch.tensor([[0.04]]),
        taper=torch.zeros(1, 1),
        edge=torch.tensor([1 / 64]),
    )
    area = masks(regions, (64, 64)).mean()
    assert abs(area - (0.5 * 0.08 + torch.pi * 0.04**2)) < 0.003


def test_lengths_follow_the_shorter_side():
    draw = only("blob", edge_blur=0.05).draw(4, (64, 64), generator(0))
    small, large = masks(draw.regions, (64, 64)), masks(draw.regions, (192, 192))
    shrunk = torch.nn.functional.avg_pool2d(large, 3)
    assert (small - shrunk).abs().mean() < 0.005


@pytest.mark.parametrize("size", [(16, 16), (40, 24), (24, 136), (150, 200)])
def test_any_size_gives_finite_images(size):
    images = torch.rand(9, 3, *size, generator=generator(1))
    pool = normals(4, (20, 50), seed=8)
    sources = TextureSources(normals(3, size), pool, count=4)
    draw = CorruptionRecipe().draw(9, size, generator(2), pool=True)
    result, mask = apply(images, draw, sources.bank(generator(3)))
    assert result.shape == images.shape and mask.shape == (9, 1, *size)
    assert result.isfinite().all() and mask.isfinite().all()


def test_textures_come_from_the_source_that_was_drawn():
    pool = torch.zeros(3, 3, 40, 40, dtype=torch.uint8)
    pool[:, 0] = 255
    tiles = bank(pool=pool)
    draw = CorruptionRecipe(texture_saturation=1.0).draw(200, SIZE, generator(0), pool=True).filling
    filling = textures(draw, tiles, SIZE)
    flat = filling.flatten(2).std(dim=2).amax(dim=1)
    assert flat[draw.source == CONSTANT].max() < 1e-5
    assert flat[draw.source == PROCEDURAL].max() > 0.1
    red = draw.source == POOL
    expected = (draw.gain * torch.tensor([1.0, 0, 0]) + draw.offset).clamp(0, 1)
    torch.testing.assert_close(filling.mean(dim=(2, 3))[red], expected[red], rtol=0, atol=1e-3)


def test_saturation_zero_makes_grey_textures():
    draw = CorruptionRecipe(texture_saturation=0.0).draw(20, SIZE, generator(0)).filling
    filling = textures(draw, bank(), SIZE)
    assert (filling.amax(dim=1) - filling.amin(dim=1)).max() < 1e-5


def test_without_a_pool_its_share_falls_to_formulas():
    recipe = CorruptionRecipe()
    without = recipe.draw(3000, SIZE, generator(0)).filling.source
    assert not (without == POOL).any()
    assert abs((without == PROCEDURAL).float().mean() - 0.7) < 0.03


def test_perlin_noise_has_the_right_range_and_vanishes_at_its_nodes():
    noise = perlin(12, 64, generator(0))
    assert noise.shape == (12, 64, 64) and noise.min() >= 0 and noise.max() <= 1
    assert 0.4 < noise.mean() < 0.6 and noise.std() > 0.05
    tiles = procedural(20, 32, generator(0))
    assert tiles.shape == (20, 32, 32) and tiles.isfinite().all()
    assert tiles.min() >= 0 and tiles.max() <= 1
    assert torch.equal(tiles, procedural(20, 32, generator(0)))


def test_noise_laws():
    fixed = draw_noise((500, 3, 8, 8), 0.1, "fixed", generator(0))
    assert abs(fixed.std() - 0.1) < 0.001
    spread = draw_noise((500, 3, 8, 8), 0.1, "uniform", generator(0)).flatten(1).std(dim=1)
    assert spread.min() < 0.01 and spread.max() < 0.12
    assert abs(spread.mean() - 0.05) < 0.004


def test_choices_follow_their_weights():
    share = torch.linspace(0, 0.9999, 10000)
    counts = torch.bincount(choose(share, [1.0, 0.0, 3.0, 0.0]), minlength=4)
    assert counts.tolist() == pytest.approx([2500, 0, 7500, 0], abs=2)
    with pytest.raises(ValueError, match="above 0"):
        choose(share, [0.0, 0.0])


def test_impossible_recipes_and_inputs_are_refused():
    with pytest.raises(ValueError, match="blob_share"):
        CorruptionRecipe(blob_share=0, stroke_share=0, dots_share=0).check()
    with pytest.raises(ValueError, match="texture"):
        CorruptionRecipe(
            texture_pool_share=0,
            texture_self_share=0,
            texture_procedural_share=0,
            texture_constant_share=0,
        ).check()
    with pytest.raises(ValueError, match="uint8"):
        TextureSources(normals(), torch.rand(2, 3, 8, 8))
    draw = CorruptionRecipe().draw(3, SIZE, generator(0))
    assert isinstance(draw[:2], CorruptionDraw) and len(draw[:2]) == 2
    with pytest.raises(ValueError, match="draw of 3"):
        apply(torch.rand(2, 3, *SIZE), draw, bank())
