"""The arithmetic of the ablations: which defects are small, and the figures of an arm."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from family_runs import Trained
from filtering_ablations import ARMS, FIGURES, small, summarise
from torch import Tensor

from methods.contract import Progress


class Brightness:
    """Scores an image by its mean, and localises by its pixels."""

    def scores(self, images: Tensor, scoring: object) -> Tensor:
        return images.mean((1, 2, 3))

    def maps(self, images: Tensor, scoring: object) -> Tensor:
        return images.mean(1)


def test_the_half_of_the_defects_with_the_fewest_pixels() -> None:
    # Two good images; defects of 6, 1, 4 and 4 pixels, of which the second and third are small.
    levels = torch.tensor([0.2, 0.4, 0.9, 0.3, 0.5, 0.1])
    images = levels[:, None, None, None].expand(-1, 3, 4, 4)
    masks = np.zeros((6, 16), bool)
    for row, count in ((2, 6), (3, 1), (4, 4), (5, 4)):
        masks[row, :count] = True
    progress = Progress(1, 0.0, cast(Any, Brightness()), state=dict)
    found = small(Trained(progress, images, masks.any(1), masks.reshape(6, 4, 4)))
    # 0.3 is above one of 0.2 and 0.4, and 0.5 above both.
    assert found["small_image_auroc"] == 0.75
    # Defective pixels: one at 0.3, four at 0.5; others: 16 each at 0.2 and 0.4, 15 at 0.3, 12 at
    # 0.5; ties count a half.
    pairs = (16 + 15 / 2) + 4 * (16 + 16 + 15 + 12 / 2)
    assert found["small_pixel_auroc"] == pytest.approx(pairs / (5 * 59))


def test_an_arm_has_its_mean_and_the_spread_of_its_seeds() -> None:
    def cell(value: float) -> dict[str, float]:
        return dict.fromkeys(FIGURES, value)

    cells: dict[str, dict[str, Any]] = {
        "tile sigma-0 seed 0": cell(0.5),
        "tile sigma-0 seed 1": cell(0.7),
        "grid sigma-0 seed 0": cell(0.9),
        "grid sigma-0 seed 1": {"error": "Diverged"},
        "tile sigma-0.01 seed 0": cell(0.1),
    }
    found = summarise(cells, ["sigma-0", "sigma-0.01", "strokes"], ["tile", "grid"])
    assert list(found) == ["sigma-0", "sigma-0.01"]
    # The mean is over trainings, the spread that of the one category with two of them.
    assert found["sigma-0"] == {name: {"mean": 0.7, "spread": 0.1414} for name in FIGURES}
    assert found["sigma-0.01"]["pixel_auroc"] == {"mean": 0.1, "spread": None}


def test_the_arms_are_those_of_the_paper() -> None:
    assert ARMS["strokes"]["stroke_share"] == ARMS["strokes"]["blob_share"] == 0.5
    assert ARMS["no-strokes"]["stroke_share"] == 0.0
    sweep = [ARMS[name]["noise_sigma"] for name in ARMS if name.startswith("sigma-0.")]
    assert sweep == [0.01, 0.05, 0.1, 0.2]
