"""The strip of what an augmentation looked like while it was learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tuner.report.strip import augmentation_strip


def test_a_column_for_each_stage_and_a_row_for_each_image(tmp_path):
    images = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    names = ["start", "rung 1\nsize 0.1", "rung 2\nsize 0.2"]
    sizes = []
    for count in (2, 3):
        path = tmp_path / "in" / f"{count}.png"
        augmentation_strip(images, [images] * count, names[:count], path, title="t", caption="demo")
        with Image.open(path) as drawn:
            assert drawn.format == "PNG"
            sizes.append(np.asarray(drawn).shape)
    assert sizes[1][1] > sizes[0][1] and sizes[1][0] == sizes[0][0]


def test_stages_that_do_not_fit_are_refused(tmp_path):
    images = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match="1 stages have 2 names"):
        augmentation_strip(images, [images], ["a", "b"], tmp_path / "x.png", title="t")
    with pytest.raises(ValueError, match="but a stage is"):
        augmentation_strip(images, [images[:1]], ["a"], tmp_path / "x.png", title="t")
    assert not list(tmp_path.iterdir())
