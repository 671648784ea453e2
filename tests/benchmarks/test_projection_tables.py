"""The tables of energy-based projection, on the paper's own figures."""

from __future__ import annotations

import pytest
from projection_paper import ORDER_OF_SCORES, PAPER_GAIN, PAPER_SCORES, PAPER_TABLE
from projection_tables import iterations_needed, paper_cells, summarise, tables


def test_the_papers_table_gives_the_papers_gain() -> None:
    found = summarise(paper_cells())
    assert found["cells"] == 60
    assert found["mean_relative_gain_percent"] == PAPER_GAIN
    assert list(found["relative_gain_percent"]) == ["l2", "dssim", "vae", "gamma-vae"]
    assert found["mean_pixel_auroc"]["l2"]["projection"] == pytest.approx(0.888, abs=5e-4)
    # The last column of Table 2 is that of the VAE in Table 1.
    assert len(PAPER_SCORES) == len(PAPER_TABLE) == 15
    for category, scores in PAPER_SCORES.items():
        assert len(scores) == len(ORDER_OF_SCORES) == 6
        assert scores[-1] == PAPER_TABLE[category][5]


def test_lines_have_the_papers_figures_where_they_exist() -> None:
    curves = {
        f"{update} {size}": [0.5, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.8]
        for update, size in (("standard", 0.5), ("standard", 0.05), ("weighted", 0.5))
    } | {"weighted 5": [0.5, 0.5, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]}
    scores = dict.fromkeys(ORDER_OF_SCORES[:5], 0.25)
    cell = {"reconstruction": 0.5, "projection": 0.75, "scores": scores, "curves": curves}
    assert iterations_needed(cell) == 3
    lines = list(tables({"demo:carpet/vae": cell, "other:tile/vae": cell}))
    text = "\n".join(lines)
    assert text.count("0.500 -> 0.750") == 3 and "all +50.00 %" in text
    assert "0.580 -> 0.735" in text and "0.465 -> 0.654" not in text
    means = [line.split() for line in lines if line.startswith("mean")]
    assert means[1][1:] == ["0.250"] * 5 + ["0.750"]
    assert "0.781" in lines[-1] and "0.893" in lines[-1]
