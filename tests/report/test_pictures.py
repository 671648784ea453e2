"""Sheets of pictures: they are drawn, share one scale and refuse what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tuner.report.pictures import corruption_sheet, heat_scale, overlay, suspicious_sheet


def batch(count: int, size=(20, 32)) -> torch.Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(count))


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_sheets_are_drawn_and_the_caption_shows(tmp_path):
    images = batch(3)
    corruption_sheet(images, images.flip(0), tmp_path / "a" / "c.png", caption="demo data")
    corruption_sheet(images, images.flip(0), tmp_path / "plain.png")
    drawn, plain = pixels(tmp_path / "a" / "c.png"), pixels(tmp_path / "plain.png")
    assert drawn.shape == plain.shape and not np.array_equal(drawn, plain)
    assert not list(tmp_path.rglob("*.part"))


def test_a_row_for_each_image(tmp_path):
    with torch.inference_mode():
        for count in (1, 4):
            maps = batch(count)[:, 0] * 5
            suspicious_sheet(
                batch(count), batch(count), maps, maps.amax((1, 2)), 4.0, tmp_path / f"{count}.png"
            )
    assert pixels(tmp_path / "4.png").shape[0] > pixels(tmp_path / "1.png").shape[0] + 200
    suspicious_sheet(batch(2), None, batch(2)[:, 0], np.array([-1.0, 2.0]), 0.0, tmp_path / "n.png")
    assert pixels(tmp_path / "n.png").shape[1] < pixels(tmp_path / "1.png").shape[1]


def test_a_method_without_maps_shows_its_images_and_scores(tmp_path):
    suspicious_sheet(batch(3), None, None, np.array([3.0, 2.0, 0.5]), 1.0, tmp_path / "plain.png")
    suspicious_sheet(
        batch(3), None, batch(3)[:, 0], np.array([3.0, 2.0, 0.5]), 1.0, tmp_path / "maps.png"
    )
    assert pixels(tmp_path / "plain.png").shape[1] < pixels(tmp_path / "maps.png").shape[1]


def test_constant_maps_and_zero_scores_are_no_fault(tmp_path):
    maps = np.zeros((2, 20, 32))
    suspicious_sheet(batch(2), batch(2), maps, np.zeros(2), 0.0, tmp_path / "zero.png")
    corruption_sheet(batch(2), batch(2), tmp_path / "same.png")


def test_all_heat_maps_share_one_scale():
    heat = np.stack([np.full((4, 4), 1.0), np.full((4, 4), 3.0)])
    low, high = heat_scale(heat)
    shown = overlay(np.full((2, 4, 4, 3), 0.5), heat, low, high)
    assert shown[1].sum() > shown[0].sum() and shown.min() >= 0 and shown.max() <= 1


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="normal is"):
        corruption_sheet(batch(2)[:, 0], batch(2), tmp_path / "x.png")
    with pytest.raises(ValueError, match="corrupted is"):
        corruption_sheet(batch(2), batch(3), tmp_path / "x.png")
    with pytest.raises(ValueError, match="maps are"):
        suspicious_sheet(batch(2), None, batch(3)[:, 0], [1.0, 2.0], 1.0, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
