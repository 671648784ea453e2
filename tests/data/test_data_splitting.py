from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import pixels, save
from tuner.data import DataError, load_textures, prepare, split
from tuner.data.preparation import Prepared


@pytest.fixture
def prepared(plain: Path, tmp_path: Path) -> Prepared:
    return prepare(str(plain), "bolts", (16, 16), tmp_path / "cache")


def rows(images: np.ndarray) -> list[bytes]:
    return sorted(image.tobytes() for image in images)


def test_a_split_shares_out_every_image_once(prepared: Prepared) -> None:
    parts = split(prepared, 3, held_out_share=0.4)
    assert (len(parts.held_out), len(parts.train)) == (2, 3)
    assert rows(np.concatenate([parts.train, parts.held_out])) == rows(prepared.train)
    assert sorted(parts.test_order) == list(range(4))
    assert np.array_equal(parts.test, prepared.test[parts.test_order])


def test_at_least_two_are_held_out(prepared: Prepared) -> None:
    assert len(split(prepared, 0, held_out_share=0.01).held_out) == 2


def test_a_seed_repeats_itself_and_seeds_differ(prepared: Prepared) -> None:
    one, again = split(prepared, 5), split(prepared, 5)
    assert np.array_equal(one.train, again.train)
    assert np.array_equal(one.test_order, again.test_order)
    orders = {tuple(split(prepared, seed).test_order) for seed in range(20)}
    assert len(orders) > 8


def test_the_default_share(prepared: Prepared) -> None:
    many = replace(prepared, train=np.repeat(prepared.train, 20, axis=0))
    assert len(split(many, 0).held_out) == 15


def test_bad_requests_are_refused(prepared: Prepared) -> None:
    few = replace(prepared, train=prepared.train[:3])
    with pytest.raises(DataError, match="bolts has 3 different normal images, but at least 4"):
        split(few, 0)
    with pytest.raises(DataError, match=r"share is 0.7.*at most 0.5"):
        split(prepared, 0, 0.7)
    with pytest.raises(DataError, match="seed is -1"):
        split(prepared, -1)


def test_textures_are_read_resized_and_limited(tmp_path: Path) -> None:
    for index in range(6):
        save(tmp_path / f"cobweb/{index}.png", pixels(index, 30 + index, 40))
    (tmp_path / "cobweb/bad.png").write_bytes(b"")
    assert load_textures(tmp_path, (16, 24)).shape == (6, 3, 16, 24)
    assert load_textures(tmp_path, (16, 24), limit=3).dtype == np.uint8
    assert len(load_textures(tmp_path, (16, 24), limit=4)) <= 4


def test_textures_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no image can be read.*--textures"):
        load_textures(tmp_path, (16, 16))
    with pytest.raises(DataError, match="does not exist"):
        load_textures(tmp_path / "nowhere", (16, 16))
