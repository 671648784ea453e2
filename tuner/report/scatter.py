"""Scatter plots of what criteria said without labels against what labels say afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tuner.report.sheet import (
    ALARM,
    CALM,
    FAINT,
    FOOT_INCHES,
    HEAD_INCHES,
    INK,
    Array,
    add_axes,
    add_foot,
    add_head,
    add_text,
    new_figure,
    save,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import MaxNLocator

PANEL_INCHES = (2.5, 2.3)
MARGIN_INCHES = 0.55
COLUMNS = 4
MARKS = {"winner": ("*", ALARM, 90.0), "defaults": ("D", CALM, 28.0)}


def criteria_sheet(
    criteria: Mapping[str, Array],
    correlations: Mapping[str, float | None],
    aurocs: Array,
    *,
    marked: Mapping[int, str],
    path: Path,
    caption: str = "",
) -> None:
    """A panel a criterion: its values `[T]` to the right, image AUROC `[T]` upwards.

    A point is a trial; `marked` names some of them (`winner`, `defaults`) by their place.
    Criteria that apply nowhere are named below and get no panel. Raises ValueError for values that
    are not as many as the AUROCs.
    """
    for name, values in criteria.items():
        if len(values) != len(aurocs):
            raise ValueError(f"{name} has {len(values)} values, but there are {len(aurocs)} trials")
    known = {n: np.isfinite(v) & np.isfinite(aurocs) for n, v in criteria.items()}
    drawn = [name for name in criteria if known[name].any()]
    columns = min(COLUMNS, max(len(drawn), 1))
    rows = math.ceil(len(drawn) / columns)
    width, height = (side + MARGIN_INCHES for side in PANEL_INCHES)
    figure = new_figure((columns * width + 0.3, HEAD_INCHES + rows * height + 0.1 + FOOT_INCHES))
    add_head(figure, "criteria against image AUROC")
    for index, name in enumerate(drawn):
        row, column = divmod(index, columns)
        place = (0.1 + column * width + MARGIN_INCHES, HEAD_INCHES + row * height + 0.1)
        axes = add_axes(figure, place, PANEL_INCHES, gap=0.16)
        points = {i: marked.get(i, "") for i in np.flatnonzero(known[name]).tolist()}
        _panel(axes, criteria[name], aurocs, points)
        found = correlations.get(name)
        said = "" if found is None else f"  ρ {found:+.2f}"
        add_text(figure, place[0] + 0.16, place[1], name + said, ha="left", size=8)
    missing = [name for name in criteria if name not in drawn]
    foot = (
        "★ winner   ◆ defaults   ρ Spearman over all trials, positive where the criterion is right"
    )
    add_foot(figure, foot + (f"; not applicable: {', '.join(missing)}" if missing else ""), caption)
    save(figure, path)


def _panel(axes: Axes, values: Array, aurocs: Array, points: Mapping[int, str]) -> None:
    plain = [i for i, mark in points.items() if mark not in MARKS]
    axes.scatter(values[plain], aurocs[plain], s=12, color=FAINT, alpha=0.8, linewidths=0)
    for mark, (shape, colour, size) in MARKS.items():
        own = [i for i, name in points.items() if name == mark]
        axes.scatter(values[own], aurocs[own], s=size, marker=shape, color=colour, linewidths=0)
    for spine in axes.spines.values():
        spine.set(visible=True, color=FAINT, linewidth=0.6)
    axes.xaxis.set_major_locator(_few())
    axes.yaxis.set_major_locator(_few())
    axes.tick_params(labelsize=6, colors=INK, length=2, width=0.5)
    axes.xaxis.get_offset_text().set_fontsize(6)


def _few() -> MaxNLocator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4)
