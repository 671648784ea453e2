"""A packaged toy, and the detector that it was made of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.registry.toys import DistanceDetector
from tuner.registry import save_package

SIZE = (24, 40)


def write_toy(folder: Path, **changes) -> DistanceDetector:
    mean = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(1))
    values = {
        "method": "registry_toy",
        "hyperparameters": {"gain": 2.0},
        "scoring": {"pooling": "max"},
        "weights": {"mean": mean},
        "size": SIZE,
        "threshold": 1.2,
        "false_positive_rate": 0.05,
        "held_out_scores": [0.5, 0.75],
        "category": "tile",
        "study": "s",
        "fingerprint": "abc",
        "versions": {"tuner": "0.1.0"},
    }
    save_package(folder, **{**values, **changes})
    return DistanceDetector(mean, 2.0)


@pytest.fixture
def toy(tmp_path):
    folder = tmp_path / "package"
    return folder, write_toy(folder)
