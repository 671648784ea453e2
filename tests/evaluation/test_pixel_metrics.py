"""Pixel metrics against scikit-learn, brute force and what must always hold."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from sklearn import metrics

from tests.evaluation.oracles import brute_aupro, random_batch
from tuner.evaluation import aupro, find_regions, pixel_metrics
from tuner.evaluation.regions import Regions


def measured(maps, masks, **options):
    return pixel_metrics(lambda: iter(maps), find_regions(masks), **options)


@pytest.mark.parametrize("levels", [None, 2, 20])
@pytest.mark.parametrize("seed", range(6))
def test_exact_against_the_oracles(seed, levels):
    maps, masks = random_batch(seed, levels=levels)
    found = measured(maps, masks)
    truth, values = masks.ravel(), maps.ravel()
    assert found.auroc == pytest.approx(metrics.roc_auc_score(truth, values), abs=1e-12)
    assert found.ap == pytest.approx(metrics.average_precision_score(truth, values), abs=1e-12)
    assert found.aupro == pytest.approx(brute_aupro(maps, masks, 0.3), abs=1e-12)


@pytest.mark.parametrize("limit", [0.01, 0.05, 0.5, 1.0])
def test_any_limit(limit):
    maps, masks = random_batch(3, levels=4)
    assert aupro(maps, masks, limit) == pytest.approx(brute_aupro(maps, masks, limit), abs=1e-12)


@pytest.mark.parametrize("skew", [0.3, 1.0, 4.0])
def test_a_histogram_of_few_bins_is_near(skew):
    """Far more distinct defect values than bins, on scales with light and with heavy tails."""
    maps, masks = random_batch(11, images=30, size=(96, 80))
    maps = np.exp(skew * maps)
    exact, binned = measured(maps, masks), measured(maps, masks, bins=16384)
    assert exact != binned
    assert binned.auroc == pytest.approx(exact.auroc, abs=1e-5)
    assert binned.aupro == pytest.approx(exact.aupro, abs=1e-5)
    assert binned.ap == pytest.approx(exact.ap, abs=5e-5)


def test_in_bounded_memory_and_in_one_go_are_the_same(monkeypatch):
    maps, masks = random_batch(5, images=9)
    whole = measured(maps, masks)
    module = sys.modules["tuner.evaluation.pixel_metrics"]
    monkeypatch.setattr(module, "HELD_PIXELS", 0)
    monkeypatch.setattr(module, "CHUNK_PIXELS", 1000)
    assert measured(maps, masks) == pytest.approx(whole, abs=1e-12)
    monkeypatch.setattr(module, "SAMPLE_PIXELS", 150)
    assert measured(maps, masks) == pytest.approx(whole, abs=2e-2), "edges from a sample"


@pytest.mark.parametrize("bins", [1 << 19, 512])
@pytest.mark.parametrize("seed", range(4))
def test_only_the_order_of_values_counts(seed, bins):
    maps, masks = random_batch(seed, levels=50)
    plain = measured(maps.astype(np.float64), masks, bins=bins)
    bent = measured(np.arctan(maps.astype(np.float64)) * 1e-3 - 7.0, masks, bins=bins)
    assert bent == pytest.approx(plain, abs=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_always_between_0_and_1(seed):
    rng = np.random.default_rng(seed)
    maps, masks = random_batch(seed, images=3, size=(9, 7), levels=int(rng.integers(1, 4)))
    masks[1, 4, 4] = True
    limit = float(rng.uniform(0.001, 1.0))
    found = measured(maps, masks, limit=limit, bins=int(rng.integers(4, 40)))
    assert all(0.0 <= value <= 1.0 for value in found)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_perfect_and_inverted_maps(sign):
    _, masks = random_batch(1)
    found = measured(sign * masks.astype(np.float32), masks)
    assert found.auroc == found.aupro == (1.0 if sign > 0 else 0.0)


def test_constant_maps_are_chance():
    _, masks = random_batch(1)
    found = measured(np.zeros(masks.shape, np.float32), masks)
    assert found.auroc == pytest.approx(0.5)
    assert found.aupro == pytest.approx(0.15)
    assert found.ap == pytest.approx(masks.mean())


def test_a_small_region_weighs_as_much_as_a_large_one():
    mask = np.zeros((1, 10, 10), bool)
    mask[0, :5, :5] = True
    mask[0, 8, 8] = True
    found_large = np.where(mask, 1.0, 0.0)
    found_large[0, 8, 8] = -1.0
    assert aupro(found_large, mask) == pytest.approx(0.5)


def test_corners_touching_make_one_region():
    mask = np.eye(4, dtype=bool)[None]
    assert find_regions(mask).count == 1
    regions = find_regions(np.array([[[1, 0, 1], [0, 0, 0], [1, 1, 0]]], bool))
    assert regions.count == 3 and sorted(regions.shares[0]) == [0.5, 0.5, 1.0, 1.0]


def test_extreme_values_do_not_blur_the_rest():
    maps, masks = random_batch(2)
    maps = maps.astype(np.float64)
    maps[0, 0, 0], maps[1, 1, 1] = 1e300, -1e300
    assert measured(maps, masks).aupro == pytest.approx(brute_aupro(maps, masks, 0.3), abs=1e-12)


def test_whole_numbers_as_maps():
    maps, masks = random_batch(2)
    maps = (maps * 20 + 100).astype(np.uint8)
    assert measured(maps, masks).aupro == pytest.approx(brute_aupro(maps, masks, 0.3), abs=1e-12)


@pytest.mark.parametrize("fill", [True, False])
def test_without_defects_or_normals_nothing_is_defined(fill):
    masks = np.full((2, 4, 4), fill)
    assert all(math.isnan(value) for value in measured(np.random.rand(2, 4, 4), masks))


def test_bad_input_is_refused():
    maps, masks = random_batch(0)
    with pytest.raises(ValueError, match="limit is 0"):
        measured(maps, masks, limit=0.0)
    with pytest.raises(ValueError, match="bins is 3"):
        measured(maps, masks, bins=3)
    with pytest.raises(ValueError, match="maps are 5, but must be 6"):
        measured(maps[:5], masks)
    with pytest.raises(ValueError, match="more maps than masks"):
        measured(maps, masks[:5])
    with pytest.raises(ValueError, match="its mask is"):
        measured(maps[:, :, :20], masks)
    with pytest.raises(ValueError, match="mask is"):
        find_regions([masks[0], masks[0, :3]])
    maps[3, 2, 2] = math.nan
    with pytest.raises(ValueError, match="map 3 holds"):
        measured(maps, masks)


def test_nothing_at_all():
    empty = Regions((0, 0), (), (), 0)
    assert all(math.isnan(value) for value in pixel_metrics(lambda: [], empty))
