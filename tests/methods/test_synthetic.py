"""Synthetic defects, the criterion made of them, and the gathering of evidence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.contract import unit
from methods.criteria.contract import Evidence
from methods.criteria.defects import FAMILIES, SyntheticSet, build_synthetic
from methods.criteria.defects.perlin import draw_perlin, noise, region
from methods.criteria.evidence import gather_evidence
from methods.criteria.registry import get_criterion

SIZES = [(48, 48), (32, 80), (96, 40)]


def surfaces(count: int, height: int = 48, width: int = 48, seed: int = 0) -> Tensor:
    """Mottled, tinted uint8 images with some grain."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    mottled = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    grain = torch.rand(count, 3, height, width, generator=generator)
    return ((0.25 + 0.35 * mottled + 0.15 * grain) * 255).to(torch.uint8)


def build(seed: int = 0, **options) -> SyntheticSet:
    return build_synthetic(
        surfaces(20, seed=1), surfaces(30, seed=2), torch.Generator().manual_seed(seed), **options
    )


def bases_of(made: SyntheticSet, held_out: Tensor, test: Tensor) -> Tensor:
    return torch.stack(
        [
            (test if on_test else held_out)[base]
            for on_test, base in zip(made.on_test, made.base, strict=True)
        ]
    )


# ------------------------------------------------------------------ families


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.parametrize("size", SIZES)
def test_a_defect_is_local_and_visible(name, size):
    family = FAMILIES[name]
    images = unit(surfaces(24, *size))
    drawn = family.draw(24, size, torch.Generator().manual_seed(3))
    defaced = family.apply(images, images.roll(1, 0), drawn)
    assert defaced.shape == images.shape
    assert defaced.min() >= 0 and defaced.max() <= 1
    change = (defaced - images).abs().amax(1)
    area = (change > 1 / 255).float().sum((1, 2)) / min(size) ** 2
    assert (change.flatten(1).amax(1) > 2 / 255).all()
    assert area.min() > 0 and area.max() < 0.2
    # from faint to strong
    strength = (change * change).flatten(1).sum(1).sqrt()
    assert strength.max() > 2.5 * strength.min()


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_same_draw_gives_the_same_defect(name):
    family = FAMILIES[name]
    images = unit(surfaces(4))
    first = family.draw(4, (48, 48), torch.Generator().manual_seed(7))
    again = family.draw(4, (48, 48), torch.Generator().manual_seed(7))
    replayed = family.apply(images, images.flip(0), first)
    assert torch.equal(replayed, family.apply(images, images.flip(0), first))
    assert torch.equal(replayed, family.apply(images, images.flip(0), again))
    other = family.draw(4, (48, 48), torch.Generator().manual_seed(8))
    assert not torch.equal(replayed, family.apply(images, images.flip(0), other))


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_defects_keep_their_place_at_another_resolution(name):
    family = FAMILIES[name]
    small = unit(surfaces(12, 64, 64))
    large = torch.nn.functional.interpolate(small, scale_factor=2, mode="nearest")
    drawn = family.draw(12, (64, 64), torch.Generator().manual_seed(5))

    def centre(images: Tensor) -> Tensor:
        defaced = family.apply(images, images.roll(1, 0), drawn)
        change = (defaced - images).abs().sum(1)
        line = (torch.arange(change.shape[1]) + 0.5) / change.shape[1]
        weight = change.sum((1, 2))
        rows, columns = change.sum(2) @ line / weight, change.sum(1) @ line / weight
        return torch.stack((rows, columns), 1)

    assert (centre(small) - centre(large)).abs().max() < 0.05


@pytest.mark.parametrize("name", ["patch", "scar", "stain", "perlin"])
def test_grey_surfaces_stay_grey(name):
    grey = unit(surfaces(8))[:, :1].expand(-1, 3, -1, -1).contiguous()
    drawn = FAMILIES[name].draw(8, (48, 48), torch.Generator().manual_seed(0))
    defaced = FAMILIES[name].apply(grey, grey.roll(1, 0), drawn)
    assert (defaced.amax(1) - defaced.amin(1)).max() < 1e-6


@pytest.mark.parametrize("name", ["patch", "scar", "stain", "perlin"])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_defects_show_on_black_and_on_white(name, level):
    blank = torch.full((20, 3, 48, 48), level)
    drawn = FAMILIES[name].draw(20, (48, 48), torch.Generator().manual_seed(0))
    changed = (FAMILIES[name].apply(blank, blank, drawn) - blank).abs().flatten(1).amax(1)
    assert (changed > 2 / 255).float().mean() > (0.3 if name in ("patch", "scar") else 0.95)


def test_perlin_regions_have_the_drawn_area():
    like = torch.zeros(16, 3, 96, 96)
    drawn = draw_perlin(16, (96, 96), torch.Generator().manual_seed(0))
    covered = region(like, drawn).mean((1, 2))
    assert torch.allclose(covered, drawn.area, rtol=0.25, atol=0.001)


def test_perlin_noise_vanishes_on_its_lattice():
    # 8 cells over 8 pixels with centres half a cell off: never on a corner, bounded by 1.
    drawn = draw_perlin(4, (64, 64), torch.Generator().manual_seed(0))
    field = noise(torch.zeros(4, 3, 64, 64), drawn.lattice, torch.full((4,), 8.0))
    assert field.abs().max() <= 1 and field.std() > 0.1
    # 64 / (64 / 0.5): every pixel centre at (i + 0.5) cells of a lattice twice as fine is a corner.
    on_corners = noise(torch.zeros(4, 3, 8, 8), drawn.lattice, torch.full((4,), 16.0))
    assert on_corners.abs().max() < 1e-5


# ------------------------------------------------------------------ sets


def test_a_set_is_half_on_the_batch_and_uses_bases_and_families_evenly():
    made = build(limit=100)
    assert made.images.dtype == torch.uint8 and made.images.shape[1:] == (3, 48, 48)
    assert made.families == tuple(FAMILIES)
    assert 95 <= len(made.images) <= 100
    assert 45 <= int(made.on_test.sum()) <= 50
    for side, length in ((made.on_test, 30), (~made.on_test, 20)):
        used = made.base[side].bincount(minlength=length)
        assert len(used) == length and used.max() - used.min() <= 2
        assert (made.family[side].bincount(minlength=5) >= 8).all()


def test_every_image_of_a_set_differs_from_its_base_in_one_place():
    made = build()
    bases = bases_of(made, surfaces(20, seed=1), surfaces(30, seed=2))
    change = (made.images.short() - bases.short()).abs().amax(1)
    assert (change.flatten(1).amax(1) >= 4).all()
    assert ((change > 1).float().mean((1, 2)) < 0.2).all()


def test_few_held_out_images_leave_room_to_the_batch():
    made = build_synthetic(
        surfaces(2), surfaces(50), torch.Generator().manual_seed(0), per_base=2, limit=40
    )
    assert int((~made.on_test).sum()) <= 4 and len(made.images) >= 36
    assert made.base[~made.on_test].bincount().max() <= 2


def test_the_same_generator_state_gives_the_same_set():
    first, again, other = build(3), build(3), build(4)
    assert torch.equal(first.images, again.images) and torch.equal(first.base, again.base)
    assert first.images.shape != other.images.shape or not torch.equal(first.images, other.images)


def test_excluded_families_are_not_used():
    made = build(exclude=frozenset({"patch", "warp", "blob"}))
    assert made.families == ("scar", "stain", "perlin")
    assert set(made.family.tolist()) == {0, 1, 2}
    with pytest.raises(ValueError, match="excluded"):
        build(exclude=frozenset(FAMILIES))


def test_the_set_leaves_its_bases_alone():
    held_out, test = surfaces(5, seed=1), surfaces(6, seed=2)
    copies = held_out.clone(), test.clone()
    build_synthetic(held_out, test, torch.Generator().manual_seed(0))
    assert torch.equal(held_out, copies[0]) and torch.equal(test, copies[1])


def test_defects_that_cannot_be_seen_are_left_out():
    blank = torch.full((8, 3, 32, 32), 128, dtype=torch.uint8)
    made = build_synthetic(blank, blank, torch.Generator().manual_seed(0), limit=80)
    assert (made.images != 128).flatten(1).any(1).all()
    assert made.families.index("warp") not in made.family.tolist()


# ------------------------------------------------------------------ evidence and criterion


class Oracle:
    """Scores an image by its distance from the nearest clean one; settings only rescale it."""

    def __init__(self, clean: Tensor, blind: bool = False) -> None:
        self.clean, self.blind, self.calls = unit(clean), blind, 0

    def embed(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))

    def grid_scores(self, images: Tensor, grid) -> Tensor:
        self.calls += 1
        if self.blind:
            generator = torch.Generator().manual_seed(0)
            return torch.rand(len(grid), len(images), generator=generator)
        distance = torch.cdist(images.flatten(1), self.clean.flatten(1)).amin(1)
        return torch.stack([distance * (i + 1) for i, _ in enumerate(grid)])


def gather(blind: bool = False, limit: int = 128) -> Evidence:
    held_out, test = surfaces(20, seed=1), surfaces(30, seed=2)
    made = build_synthetic(held_out, test, torch.Generator().manual_seed(0), limit=limit)
    detector = Oracle(torch.cat((held_out, test)), blind)
    clean = unit(surfaces(6, seed=3))
    evidence = gather_evidence(
        detector,
        clean,
        1 - clean,
        held_out=held_out,
        test=test,
        synthetic=made,
        grid=[{"pooling": "sum"}, {"pooling": "max"}],
    )
    # One for all images but held-out normals, which are normalised by each other.
    assert detector.calls == 2
    return evidence


def test_evidence_keeps_the_sets_apart():
    evidence = gather()
    assert evidence.test_scores.shape == (2, 30) and evidence.held_out_scores.shape == (2, 20)
    assert evidence.synthetic_scores.shape == (2, len(evidence.synthetic_base))
    assert float(evidence.test_scores.max()) < 0.1 < float(evidence.synthetic_scores.amax())
    assert torch.allclose(evidence.corrupted_embeddings, 1 - evidence.train_embeddings, atol=1e-6)
    assert torch.allclose(
        evidence.test_embeddings, unit(surfaces(30, seed=2)).mean((2, 3)), atol=1e-6
    )


def test_an_empty_grid_is_refused():
    images = surfaces(3)
    made = build_synthetic(images, images, torch.Generator().manual_seed(0))
    detector, floats = Oracle(images), unit(images)
    with pytest.raises(ValueError, match="grid"):
        gather_evidence(
            detector, floats, floats, held_out=images, test=images, synthetic=made, grid=[]
        )


def test_the_criterion_is_one_for_an_oracle_and_a_half_for_chance():
    criterion = get_criterion("synthetic_validation")
    assert criterion.direction == "maximize" and criterion.sees_scoring
    seen = criterion.evaluate(gather())
    assert seen.dtype == torch.float64 and torch.equal(seen, torch.ones(2, dtype=torch.float64))
    blind = criterion.evaluate(gather(blind=True, limit=200))
    assert (blind - 0.5).abs().max() < 0.1
