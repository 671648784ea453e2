"""Sheets of pictures that say what a study did: its corruption, and what its winner suspects."""

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
TEXT_INCHES = 1.75
HEAD_INCHES = 0.62
FOOT_INCHES = 0.62
PAPER, INK, FAINT = "#ffffff", "#1d232b", "#6a7480"
ALARM, CALM = "#b3261e", "#2c6e49"
HEAT = "inferno"


def corruption_sheet(
    normal: ArrayLike, corrupted: ArrayLike, path: Path, *, caption: str = ""
) -> None:
    """Normal images, what the corruption made of them, and where they differ, in columns.

    `normal` and `corrupted` are float `[n, 3, H, W]` in [0, 1]. Differences are the largest over
    the channels, on one scale for the whole sheet. Raises ValueError for other shapes.
    """
    before, after = _pictures(normal, "normal"), _pictures(corrupted, "corrupted")
    if before.shape != after.shape:
        raise ValueError(f"corrupted is {after.shape}, but normal is {before.shape}")
    changes = np.abs(after - before).max(axis=-1)
    full = max(float(changes.max()), 1e-6)
    count, height, width = changes.shape
    cell = _cell(height, width)
    figure = _figure((cell[0] * count + 1.25, cell[1] * 3 + HEAD_INCHES + FOOT_INCHES))
    left, top = 1.2, HEAD_INCHES
    rows = (("normal", before), ("corrupted", after), ("difference", changes))
    for row, (label, images) in enumerate(rows):
        for column, image in enumerate(images):
            axes = _axes(figure, (left + column * cell[0], top + row * cell[1]), cell)
            # The limits and colours count for differences only: pictures have colours of their own.
            axes.imshow(image, interpolation="nearest", cmap=HEAT, vmin=0.0, vmax=full)
        _text(figure, left - 0.12, top + (row + 0.5) * cell[1], label, ha="right")
    _head(figure, "What training corrupted")
    _foot(figure, f"difference: black 0, brightest {full:.2f} of full scale", caption)
    _save(figure, path)


def suspicious_sheet(  # noqa: PLR0917
    images: ArrayLike,
    reconstructions: ArrayLike | None,
    maps: ArrayLike,
    scores: ArrayLike,
    threshold: float,
    path: Path,
    *,
    caption: str = "",
) -> None:
    """A row for each image: itself, its reconstruction, its heat map over it, its score.

    `images` and `reconstructions` (None where a method has none) are float `[n, 3, H, W]` in
    [0, 1], `maps` `[n, H, W]`, `scores` `[n]`. All heat maps share one scale. Raises ValueError
    for other shapes.
    """
    shown = _pictures(images, "images")
    heat, values = _array(maps), _array(scores).astype(np.float64)
    if heat.shape != shown.shape[:3] or values.shape != shown.shape[:1]:
        raise ValueError(
            f"maps are {heat.shape} and scores {values.shape}, but images are {shown.shape}"
        )
    low, high = _scale(heat)
    columns: list[tuple[str, Array]] = [("image", shown)]
    if reconstructions is not None:
        columns.append(("reconstruction", _pictures(reconstructions, "reconstructions")))
    columns.append(("heat map", _overlay(shown, heat, low, high)))
    count, height, width = heat.shape
    cell = _cell(height, width)
    left, top = 0.45, HEAD_INCHES + 0.3
    size = (
        left + cell[0] * len(columns) + TEXT_INCHES + 0.2,
        top + cell[1] * count + FOOT_INCHES + 0.35,
    )
    figure = _figure(size)
    for column, (label, pictures) in enumerate(columns):
        _text(figure, left + (column + 0.5) * cell[0], top - 0.13, label, color=FAINT)
        for row, picture in enumerate(pictures):
            axes = _axes(figure, (left + column * cell[0], top + row * cell[1]), cell)
            axes.imshow(picture, interpolation="nearest")
    beside = left + cell[0] * len(columns) + 0.14
    _text(figure, beside, top - 0.13, "score", ha="left", color=FAINT)
    reach = max(*values.tolist(), threshold) or 1.0
    for row, value in enumerate(values):
        middle = top + (row + 0.5) * cell[1]
        _text(figure, left - 0.12, middle, str(row + 1), ha="right", color=FAINT)
        _score(figure, (beside, middle), float(value), threshold, reach)
    _colours(figure, (left, top + cell[1] * count + 0.12), cell[0] * len(columns), (low, high))
    _head(figure, "Most suspicious test images")
    _foot(figure, f"threshold {threshold:.4g}, marked on each score", caption)
    _save(figure, path)


def _score(
    figure: Figure, place: tuple[float, float], value: float, threshold: float, reach: float
) -> None:
    """The number, its verdict in words and colour, and a bar with the threshold on it."""
    above = value > threshold
    colour, verdict = (ALARM, "anomalous") if above else (CALM, "normal")
    x, y = place
    _text(figure, x, y - 0.16, f"{value:.4g}", ha="left", size=11, weight="bold")
    _text(figure, x, y + 0.05, verdict, ha="left", size=8, color=colour)
    axes = _axes(figure, (x, y + 0.16), (TEXT_INCHES - 0.3, 0.11), gap=0.0)
    floor = min(0.0, value, threshold)
    axes.barh([0], [value - floor], left=floor, height=1.0, color=colour)
    axes.axvline(threshold, color=INK, linewidth=1.4)
    axes.set_facecolor("#e7eaee")
    axes.set_xlim(floor, reach + 0.04 * (reach - floor))
    axes.set_ylim(-0.5, 0.5)


def _overlay(images: Array, heat: Array, low: float, high: float) -> Array:
    """Heat over the grey image: the hotter, the less the image shows through."""
    from matplotlib import colormaps

    level = np.clip((heat - low) / (high - low), 0.0, 1.0)[..., None]
    grey = np.repeat(images.mean(axis=-1, keepdims=True), 3, axis=-1)
    strength = 0.1 + 0.75 * level
    blended = (1 - strength) * grey + strength * colormaps[HEAT](level[..., 0])[..., :3]
    return np.asarray(blended)


def _scale(heat: Array) -> tuple[float, float]:
    """Shared ends of the colour scale; a few extreme pixels do not darken the rest."""
    low, high = (float(v) for v in np.quantile(heat, (0.02, 0.999)))
    return low, max(high, low + 1e-9)


def _colours(
    figure: Figure, place: tuple[float, float], length: float, ends: tuple[float, float]
) -> None:
    axes = _axes(figure, place, (length, 0.1), gap=0.02)
    axes.imshow(np.linspace(0, 1, 256)[None], cmap=HEAT, aspect="auto")
    y = place[1] + 0.2
    _text(figure, place[0], y, f"{ends[0]:.3g}", ha="left", size=7, color=FAINT)
    _text(figure, place[0] + length, y, f"{ends[1]:.3g}", ha="right", size=7, color=FAINT)
    _text(figure, place[0] + length / 2, y, "heat map, one scale for all", size=7, color=FAINT)


def _pictures(images: ArrayLike, name: str) -> Array:
    """`[n, H, W, 3]` in [0, 1]."""
    array = _array(images).astype(np.float64)
    if array.ndim != 4 or array.shape[1] != 3 or 0 in array.shape:
        raise ValueError(f"{name} is {array.shape}, but must be [n, 3, H, W] with n of at least 1")
    return np.clip(np.nan_to_num(array.transpose(0, 2, 3, 1)), 0.0, 1.0)


def _array(values: Any) -> Array:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _cell(height: int, width: int) -> tuple[float, float]:
    """Width and height in inches of one picture: the same area whatever its proportions."""
    stretch = math.sqrt(min(max(width / height, 0.25), 4.0))
    return CELL_INCHES * stretch, CELL_INCHES / stretch


def _figure(size: tuple[float, float]) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(max(size[0], 4.2), size[1]), dpi=DOTS_PER_INCH, facecolor=PAPER)


def _axes(
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


def _text(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    width, height = figure.get_size_inches()
    options = {"ha": "center", "va": "center", "size": 9, "color": INK, **style}
    figure.text(x / width, 1 - y / height, text, **options)


def _head(figure: Figure, text: str) -> None:
    _text(figure, 0.16, 0.3, text, ha="left", size=13, weight="bold")


def _foot(figure: Figure, text: str, caption: str) -> None:
    height = figure.get_size_inches()[1]
    _text(figure, 0.16, height - 0.2, text, ha="left", size=8, color=FAINT)
    if caption:
        _text(figure, 0.16, height - 0.4, caption, ha="left", size=8, color=ALARM, weight="bold")


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    figure.savefig(draft, format="png", facecolor=PAPER, metadata={"Software": "tuner"})
    draft.replace(path)
