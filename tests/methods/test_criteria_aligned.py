"""The fixed embedding, the finer families of defects, and the weights between them."""

from __future__ import annotations

import math

import pytest
import torch

from methods.contract import unit
from methods.criteria.aligned import (
    EVEN_SHARE,
    image_wins,
    loss_weights,
    mixture_weights,
    resemblance_weights,
    weighted_validation,
)
from methods.criteria.appearance import WIDTH, Appearance
from methods.criteria.defects import FAMILIES, build_synthetic
from methods.criteria.defects.cells import cells, extent
from methods.criteria.evidence import noise_like
from methods.criteria.reference import reference_agreement, unusualness
from methods.criteria.registry import get_criterion
from methods.criteria.synthetic import family_aurocs
from tests.methods.evidences import changed, evidence, normal
from tests.methods.test_synthetic import surfaces


def spotted(images: torch.Tensor, level: float, side: int = 8) -> torch.Tensor:
    marked, start = images.clone(), images.shape[-2] // 3
    marked[..., start : start + side, start : start + side] = level
    return marked


@pytest.mark.parametrize("size", [(16, 16), (48, 48), (40, 72), (160, 160)])
def test_the_fixed_embedding_moves_where_a_defect_is_and_as_the_defect_does(
    size: tuple[int, int],
) -> None:
    images = unit(surfaces(24, *size))
    look = Appearance.of(images[:16])
    clean, side = images[16:], max(4, min(size) // 6)
    embedded = [
        look.embed(x) for x in (clean, spotted(clean, 0.0, side), spotted(clean, 1.0, side))
    ]
    assert all(rows.shape == (8, WIDTH) and bool(rows.isfinite().all()) for rows in embedded)
    plain, dark, bright = embedded
    assert bool((dark[:, -1] > plain[:, -1].max()).all())
    assert dark[:, 0].mean() < plain[:, 0].mean() < bright[:, 0].mean()
    assert torch.equal(look.embed(clean), plain) and look.embed(clean[:0]).shape == (0, WIDTH)


def test_what_lifts_a_whole_image_is_not_unusual() -> None:
    images = unit(surfaces(20))
    look = Appearance.of(images[:12])
    lifted = look.embed(images[12:] * 0.8 + 0.15) - look.embed(images[12:])
    moved = look.embed(spotted(images[12:], 0.0)) - look.embed(images[12:])
    assert lifted.norm(dim=1).mean() < 0.35 * moved.norm(dim=1).mean()


def test_cells_part_each_kind_by_measured_size_and_contrast() -> None:
    clean = torch.full((8, 3, 20, 20), 100, dtype=torch.uint8)
    images = clean.clone()
    for i, (side, change) in enumerate([(2, 10), (2, 90), (9, 10), (9, 90)] * 2):
        images[i, :, :side, :side] += change
    kind = torch.tensor([0, 0, 0, 0, 3, 3, 3, 3])
    area, contrast = extent(images, clean)
    assert area[2].item() == pytest.approx(81 / 400) and contrast[1].item() == 90
    assert cells(images, clean, kind).tolist() == [0, 1, 2, 3, 12, 13, 14, 15]


def test_a_set_carries_its_cells_and_its_looks() -> None:
    held_out, test = surfaces(20, seed=1), surfaces(30, seed=2)
    made = build_synthetic(held_out, test, torch.Generator().manual_seed(0), normals=surfaces(9))
    assert torch.equal(made.cell // 4, made.family)
    assert int(made.cell.max()) < 4 * len(FAMILIES)
    assert made.appearance.shape == (len(made.images), WIDTH)
    assert made.test_appearance.shape == (30, WIDTH)
    assert made.normal_appearance.shape == (29, WIDTH)


def families(truth: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normals, a batch a third of which is moved along one of four directions, families, cells."""
    normals, test = normal(40, 4), normal(60, 4, seed=1)
    cell = torch.arange(32) % 4
    synthetic = normal(32, 4, seed=2) + 6 * torch.eye(4, dtype=torch.float64)[cell]
    test[:20, truth] += 6
    return normals, test, synthetic, cell


@pytest.mark.parametrize("weigh", [loss_weights, mixture_weights, resemblance_weights])
@pytest.mark.parametrize("truth", [0, 2])
def test_the_family_that_the_batch_holds_weighs_most(weigh, truth: int) -> None:
    normals, test, synthetic, cell = families(truth)
    weights = weigh(normals, test, synthetic, cell)
    assert weights.sum().item() == pytest.approx(1) and int(weights.argmax()) == truth
    assert weights.min().item() >= EVEN_SHARE / 4 - 1e-12
    moved = weigh(*(3 * rows - 5 for rows in (normals, test, synthetic)), cell)
    assert torch.allclose(moved, weights)


def test_a_mixture_by_hand() -> None:
    normals = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    synthetic, cell = torch.tensor([[4.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 2])
    test = torch.tensor([[0.0, 0.0], [6.0, 2.0]])
    # The batch's mean (3, 1) is 3/4 of one displacement and 1/4 of the other; half is even.
    expected = [EVEN_SHARE / 2 + 0.5 * 0.75, 0.0, EVEN_SHARE / 2 + 0.5 * 0.25]
    assert mixture_weights(normals, test, synthetic, cell).tolist() == pytest.approx(expected)
    away = mixture_weights(normals, -test, synthetic, cell)
    assert away.tolist() == pytest.approx([0.5, 0.0, 0.5])


def test_votes_by_hand() -> None:
    normals = torch.tensor([[-1.0], [1.0]])
    synthetic = torch.tensor([[9.0], [9.0], [9.0], [9.0], [-9.0], [-9.0], [-9.0], [-9.0]])
    cell = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
    # One unusual image: its 5 nearest are all four of family 0 and one of family 1.
    test = torch.tensor([[0.5], [7.0]])
    expected = [1 / 6 + 0.5 * 1 / 1.5, 1 / 6 + 0.5 * 0.5 / 1.5, 1 / 6]
    found = resemblance_weights(normals, test, synthetic, cell)
    assert found.tolist() == pytest.approx(expected) or found.tolist() == pytest.approx(
        [expected[0], expected[2], expected[1]]
    )
    usual = resemblance_weights(normals, test[:1], synthetic, cell)
    assert usual.tolist() == pytest.approx([1 / 3] * 3)


def test_agreement_with_the_fixed_detector_by_hand() -> None:
    normal, test = torch.tensor([[-1.0, 0.0], [1.0, 2.0]]), torch.tensor([[0.0, 1], [3, 1], [0, 3]])
    reference = unusualness(normal, test)
    assert reference.tolist() == [0, 3, 2]
    scores = torch.tensor([[1.0, 9.0, 2.0], [9.0, 1.0, 2.0], [1.0, 2.0, 2.0], [1.0, 1.0, 1.0]])
    found = reference_agreement(scores, reference)
    assert found[:3].tolist() == pytest.approx([1, -1, math.sqrt(0.75)]) and found[3].isnan()


def test_wins_are_the_parts_of_family_aurocs() -> None:
    given = evidence()
    wins = image_wins(given)
    for on_test in (False, True):
        aurocs = family_aurocs(given, on_test)
        for number in range(3):
            own = (given.synthetic_family == number) & (given.synthetic_on_test == on_test)
            assert torch.allclose(wins[:, own].mean(1), aurocs[number])


def test_weights_decide_whose_wins_count() -> None:
    given = evidence()
    cell = given.synthetic_family
    only = weighted_validation(given, cell, torch.tensor([0.0, 1.0, 0.0]).double())
    assert torch.allclose(only, image_wins(given)[:, cell == 1].mean(1))
    even = weighted_validation(given, cell, torch.ones(3).double() / 3)
    assert torch.allclose(even, get_criterion("synthetic_validation").evaluate(given))


def test_aligned_validation_prefers_who_finds_what_the_batch_holds() -> None:
    normals, test, synthetic, cell = families(1)
    found = torch.zeros(2, 32)
    # The first setting finds the family in the batch, the second two others.
    found[0, cell == 1], found[1, (cell == 0) | (cell == 3)] = 1.0, 1.0
    given = changed(
        evidence(2),
        test_scores=torch.zeros(2, 60),
        held_out_scores=torch.zeros(2, 12),
        noise_scores=torch.zeros(2, 4),
        synthetic_scores=found,
        synthetic_on_test=torch.arange(32) >= 16,
        synthetic_base=torch.arange(32) % 12,
        synthetic_family=cell,
        families=("a", "b", "c", "d"),
        synthetic_cell=cell,
        normal_appearance=normals,
        test_appearance=test,
        synthetic_appearance=synthetic,
    )
    plain = get_criterion("synthetic_validation").evaluate(given)
    matched = get_criterion("matched_synthetic_validation").evaluate(given)
    assert plain[0] < plain[1] and matched[0] > matched[1]


def test_noise_looks_like_normals_pixel_by_pixel_and_repeats() -> None:
    normals = unit(surfaces(50))
    drawn = noise_like(normals, 400)
    assert drawn.shape == (400, 3, 48, 48) and torch.equal(drawn, noise_like(normals, 400))
    assert (drawn.mean(0) - normals.mean(0)).abs().mean() < 0.01
    assert (drawn.std(0) - normals.std(0)).abs().mean() < 0.01
