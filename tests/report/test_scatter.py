"""The sheet of criteria against image AUROC."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tuner.report.scatter import criteria_sheet


def test_a_panel_for_each_criterion_that_applies(tmp_path):
    aurocs = np.array([0.5, 0.7, np.nan, 0.9])
    criteria = {name: np.arange(4.0) for name in "abcde"} | {"nowhere": np.full(4, np.nan)}
    sizes = []
    for count in (1, 5, 6):
        path = tmp_path / f"{count}.png"
        shown = dict(list(criteria.items())[:count])
        criteria_sheet(shown, {"a": 0.5}, aurocs, marked={0: "defaults", 3: "winner"}, path=path)
        with Image.open(path) as drawn:
            sizes.append(drawn.size)
    assert sizes[0] < sizes[1] == sizes[2]


def test_nothing_to_draw_is_still_a_sheet_and_wrong_numbers_are_refused(tmp_path):
    criteria_sheet({"a": np.ones(2)}, {}, np.full(2, np.nan), marked={}, path=tmp_path / "x.png")
    assert (tmp_path / "x.png").is_file()
    with pytest.raises(ValueError, match="a has 2 values, but there are 3 trials"):
        criteria_sheet({"a": np.ones(2)}, {}, np.ones(3), marked={}, path=tmp_path / "y.png")
