"""What all sheets of pictures share: their paper, their cells, their lettering."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]

DOTS_PER_INCH = 110
CELL_INCHES = 1.55
HEAD_INCHES = 0.62
FOOT_INCHES = 0.62
PAPER, INK, FAINT = "#ffffff", "#1d232b", "#6a7480"
ALARM, CALM = "#b3261e", "#2c6e49"


def as_pictures(images: ArrayLike, name: str) -> Array:
    """`[n, H, W, 3]` in [0, 1]."""
    array = as_array(images).astype(np.float64)
    if array.ndim != 4 or array.shape[1] != 3 or 0 in array.shape:
        raise ValueError(f"{name} is {array.shape}, but must be [n, 3, H, W] with n of at least 1")
    return np.clip(np.nan_to_num(array.transpose(0, 2, 3, 1)), 0.0, 1.0)


def as_array(values: Any) -> Array:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def cell_of(height: int, width: int) -> tuple[float, float]:
    """Width and height in inches of one picture: the same area whatever its proportions."""
    stretch = math.sqrt(min(max(width / height, 0.25), 4.0))
    return CELL_INCHES * stretch, CELL_INCHES / stretch


def new_figure(size: tuple[float, float]) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(max(size[0], 4.2), size[1]), dpi=DOTS_PER_INCH, facecolor=PAPER)


def add_axes(
    figure: Figure, place: tuple[float, float], size: tuple[float, float], gap: float = 0.035
) -> Axes:
    """Bare axes at (left, top) in inches from the upper left corner."""
    width, height = figure.get_size_inches()
    box = (
        (place[0] + gap) / width,
        1 - (place[1] + size[1] - gap) / height,
        (size[0] - 2 * gap) / width,
        (size[1] - 2 * gap) / height,
    )
    axes = figure.add_axes(box)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def add_text(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    width, height = figure.get_size_inches()
    options = {"ha": "center", "va": "center", "size": 9, "color": INK, **style}
    figure.text(x / width, 1 - y / height, text, **options)


def add_head(figure: Figure, text: str) -> None:
    add_text(figure, 0.16, 0.3, text, ha="left", size=13, weight="bold")


def add_foot(figure: Figure, text: str, caption: str) -> None:
    height = figure.get_size_inches()[1]
    add_text(figure, 0.16, height - 0.2, text, ha="left", size=8, color=FAINT)
    if caption:
        add_text(figure, 0.16, height - 0.4, caption, ha="left", size=8, color=ALARM, weight="bold")


def save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    figure.savefig(draft, format="png", facecolor=PAPER, metadata={"Software": "tuner"})
    draft.replace(path)
