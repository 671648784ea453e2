from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import tuner.data.demo
from tuner.data import open_source, prepare
from tuner.data.demo import scene
from tuner.data.demo.catalogue import SURFACES
from tuner.data.demo.defects import KINDS
from tuner.data.demo.photographs import sheet
from tuner.data.images import content_hash
from tuner.data.labels import load_labels

CATEGORIES = sorted(SURFACES)


def test_categories_and_counts() -> None:
    source = open_source("demo")
    assert source.demo and source.layout == "demo"
    assert {"tile", "carpet", "grid", "gravel", "brick", "grass"} <= set(source.categories())
    listing = source.listing("tile")
    assert (len(listing.train), len(listing.test)) == (96, 80)
    assert not any(kind in repr(listing.test) for kind in KINDS)


@pytest.mark.parametrize("category", CATEGORIES)
def test_images_repeat_themselves_and_differ_from_one_another(category: str) -> None:
    one, again = scene.training_image(category, 0), scene.training_image(category, 0)
    assert one.shape == (256, 256, 3) and one.dtype == np.uint8
    assert np.array_equal(one, again)
    assert np.abs(one.astype(int) - scene.training_image(category, 1)).mean() > 3
    assert np.array_equal(scene.batch_image(category, 7), scene.batch_image(category, 7))
    # A picture, not a blank: it uses a good part of the scale and hardly clips.
    assert one.std() > 8 and np.isin(one, (0, 255)).mean() < 0.05


def test_the_batch_holds_every_kind_in_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene, "GOOD", 12)
    monkeypatch.setattr(scene, "DEFECTIVE", 18)
    scenes = [scene.batch_scene("grid", slot) for slot in range(30)]
    defective = np.array([bool(found.defect) for found in scenes])
    assert defective.sum() == 18
    assert 0 < defective[:12].sum() < 12
    assert {found.defect for found in scenes} == {"", *KINDS}
    areas = np.array([found.mask.mean() for found in scenes])
    assert (areas[~defective] == 0).all()
    assert areas[defective].min() > 0.004 and areas[defective].max() < 0.09


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_masks_cover_what_changed_and_strength_makes_it_plainer(kind: str) -> None:
    surface = SURFACES["carpet"][0](np.random.default_rng(0), "test")
    under = SURFACES["carpet"][1]
    change = {}
    for strength in (0.0, 1.0):
        inside, outside = [], []
        for seed in range(6):
            rng = np.random.default_rng(seed)
            damaged, mask = KINDS[kind](rng, surface, under, 0.7, strength)
            assert damaged.shape == surface.shape and mask.dtype == bool
            difference = np.abs(damaged - surface).mean(-1)
            inside.append(difference[mask].mean())
            outside.append(difference[~mask].sum() / difference.sum())
        assert np.mean(outside) < 0.25
        change[strength] = np.mean(inside)
    assert change[1.0] > 1.3 * change[0.0] > 0.02


def test_photographs_for_training_and_test_share_no_pixel() -> None:
    from skimage import data

    train, test = sheet("gravel", "train"), sheet("gravel", "test")
    assert train.width + test.width == data.gravel().shape[1]
    assert train.height == test.height == data.gravel().shape[0]


def test_truth_matches_the_prepared_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in (("TRAIN", 8), ("GOOD", 10), ("DEFECTIVE", 12)):
        monkeypatch.setattr(scene, name, count)
    prepared = prepare("demo", "grid", (64, 48), tmp_path)
    assert prepared.demo and "demo data" in prepared.warnings[0]
    assert prepared.train.shape == (8, 3, 64, 48) and prepared.test.shape == (22, 3, 64, 48)
    found = load_labels("demo", "grid", prepared.size, prepared.test_hashes)
    assert found is not None and found.masks is not None
    assert found.anomalous.sum() == 12 and found.missing_masks == 0
    assert found.masks.shape == (22, 64, 48)
    assert (
        found.masks[found.anomalous].any((1, 2)).all() and not found.masks[~found.anomalous].any()
    )
    known = scene.batch_scene("grid", 11)
    at = prepared.test_hashes.index(content_hash(known.image))
    assert found.defects[at] == known.defect
    again = prepare(
        "demo", "grid", (64, 48), tmp_path, progress=lambda done, total: pytest.fail("made again")
    )
    assert again.fingerprint == prepared.fingerprint


def test_the_generator_shares_nothing_with_training() -> None:
    root = Path(next(iter(tuner.data.demo.__path__)))
    for path in root.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name.split(".")[0] not in ("methods", "torch", "kornia"), path
