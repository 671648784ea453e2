"""Small data sets in every layout."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Save = Callable[..., Path]


def pixels(seed: int, height: int = 20, width: int = 24) -> np.ndarray:
    """uint8 `[H, W, 3]`, different for each seed."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def box_mask(row: int, height: int = 20, width: int = 24) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[row : row + 6, 4:12] = 255
    return mask


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    """`nut`: 6 normal images, 3 good and 4 defective ones (one of them without a mask)."""
    root = tmp_path / "mvtec"
    for index in range(6):
        save(root / f"nut/train/good/{index:03d}.png", pixels(index))
    for index in range(3):
        save(root / f"nut/test/good/{index:03d}.png", pixels(100 + index))
    for index in range(2):
        save(root / f"nut/test/scratch/{index:03d}.png", pixels(200 + index))
        save(root / f"nut/test/bent/{index:03d}.png", pixels(300 + index))
        save(root / f"nut/ground_truth/scratch/{index:03d}_mask.png", box_mask(2 + index))
    save(root / "nut/ground_truth/bent/000_mask.png", box_mask(10))
    return root


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """5 normal and 4 unlabelled images."""
    root = tmp_path / "bolts"
    for index in range(5):
        save(root / f"normal/n{index}.png", pixels(index))
    for index in range(4):
        save(root / f"unlabelled/u{index}.png", pixels(50 + index))
    return root


@pytest.fixture
def visa(tmp_path: Path) -> Path:
    """`candle`: 5 normal images, 2 good and 2 defective ones; `pcb1` alike."""
    root = tmp_path / "visa"
    lines = [["object", "split", "label", "image", "mask"]]
    for start, name in ((0, "candle"), (1000, "pcb1")):
        for index in range(7):
            path = f"{name}/Data/Images/Normal/{index:04d}.png"
            save(root / path, pixels(start + index))
            lines.append([name, "train" if index < 5 else "test", "normal", path, ""])
        for index in range(2):
            path = f"{name}/Data/Images/Anomaly/{index:03d}.png"
            mask = f"{name}/Data/Masks/Anomaly/{index:03d}.png"
            save(root / path, pixels(start + 400 + index))
            save(root / mask, np.minimum(box_mask(3), 1 + index))
            lines.append([name, "test", "anomaly", path, mask])
    write_csv(root / "split_csv/1cls.csv", lines)
    return root


def write_csv(path: Path, lines: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
