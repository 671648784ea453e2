"""Sheets of pictures that say what a study did: its corruption, and what its winner suspects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

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
    as_array,
    as_pictures,
    cell_of,
    new_figure,
    save,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT_INCHES = 1.75
HEAT = "inferno"


def corruption_sheet(
    normal: ArrayLike, corrupted: ArrayLike, path: Path, *, caption: str = ""
) -> None:
    """Normal images, what the corruption made of them, and where they differ, in columns.

    `normal` and `corrupted` are float `[n, 3, H, W]` in [0, 1]. Differences are the largest over
    the channels, on one scale for the whole sheet. Raises ValueError for other shapes.
    """
    before, after = as_pictures(normal, "normal"), as_pictures(corrupted, "corrupted")
    if before.shape != after.shape:
        raise ValueError(f"corrupted is {after.shape}, but normal is {before.shape}")
    changes = np.abs(after - before).max(axis=-1)
    full = max(float(changes.max()), 1e-6)
    count, height, width = changes.shape
    cell = cell_of(height, width)
    figure = new_figure((cell[0] * count + 1.25, cell[1] * 3 + HEAD_INCHES + FOOT_INCHES))
    left, top = 1.2, HEAD_INCHES
    rows = (("normal", before), ("corrupted", after), ("difference", changes))
    for row, (label, images) in enumerate(rows):
        for column, image in enumerate(images):
            axes = add_axes(figure, (left + column * cell[0], top + row * cell[1]), cell)
            # The limits and colours count for differences only: pictures have colours of their own.
            axes.imshow(image, interpolation="nearest", cmap=HEAT, vmin=0.0, vmax=full)
        add_text(figure, left - 0.12, top + (row + 0.5) * cell[1], label, ha="right")
    add_head(figure, "What training corrupted")
    add_foot(figure, f"difference: black 0, brightest {full:.2f} of full scale", caption)
    save(figure, path)


def suspicious_sheet(  # noqa: PLR0917
    images: ArrayLike,
    reconstructions: ArrayLike | None,
    maps: ArrayLike | None,
    scores: ArrayLike,
    threshold: float,
    path: Path,
    *,
    caption: str = "",
) -> None:
    """A row for each image: itself, its reconstruction, its heat map over it, its score.

    `images` and `reconstructions` are float `[n, 3, H, W]` in [0, 1], `maps` `[n, H, W]` (None for
    either where a method has none), `scores` `[n]`. All heat maps share one scale. Raises
    ValueError for other shapes.
    """
    shown = as_pictures(images, "images")
    heat = None if maps is None else as_array(maps)
    values = as_array(scores).astype(np.float64)
    if (heat is not None and heat.shape != shown.shape[:3]) or values.shape != shown.shape[:1]:
        raise ValueError(
            f"maps are {None if heat is None else heat.shape} and scores {values.shape}, but images"
            f" are {shown.shape}"
        )
    columns: list[tuple[str, Array]] = [("image", shown)]
    if reconstructions is not None:
        columns.append(("reconstruction", as_pictures(reconstructions, "reconstructions")))
    if heat is not None:
        columns.append(("heat map", overlay(shown, heat, *heat_scale(heat))))
    count, height, width = shown.shape[:3]
    cell = cell_of(height, width)
    left, top = 0.45, HEAD_INCHES + 0.3
    size = (
        left + cell[0] * len(columns) + TEXT_INCHES + 0.2,
        top + cell[1] * count + FOOT_INCHES + 0.35,
    )
    figure = new_figure(size)
    for column, (label, pictures) in enumerate(columns):
        add_text(figure, left + (column + 0.5) * cell[0], top - 0.13, label, color=FAINT)
        for row, picture in enumerate(pictures):
            axes = add_axes(figure, (left + column * cell[0], top + row * cell[1]), cell)
            axes.imshow(picture, interpolation="nearest")
    beside = left + cell[0] * len(columns) + 0.14
    add_text(figure, beside, top - 0.13, "score", ha="left", color=FAINT)
    reach = max(*values.tolist(), threshold) or 1.0
    for row, value in enumerate(values):
        middle = top + (row + 0.5) * cell[1]
        add_text(figure, left - 0.12, middle, str(row + 1), ha="right", color=FAINT)
        _score(figure, (beside, middle), float(value), threshold, reach)
    if heat is not None:
        below = (left, top + cell[1] * count + 0.12)
        _colours(figure, below, cell[0] * len(columns), heat_scale(heat))
    add_head(figure, "Most suspicious test images")
    add_foot(figure, f"threshold {threshold:.4g}, marked on each score", caption)
    save(figure, path)


def _score(
    figure: Figure, place: tuple[float, float], value: float, threshold: float, reach: float
) -> None:
    """The number, its verdict in words and colour, and a bar with the threshold on it."""
    above = value > threshold
    colour, verdict = (ALARM, "anomalous") if above else (CALM, "normal")
    x, y = place
    add_text(figure, x, y - 0.16, f"{value:.4g}", ha="left", size=11, weight="bold")
    add_text(figure, x, y + 0.05, verdict, ha="left", size=8, color=colour)
    axes = add_axes(figure, (x, y + 0.16), (TEXT_INCHES - 0.3, 0.11), gap=0.0)
    floor = min(0.0, value, threshold)
    axes.barh([0], [value - floor], left=floor, height=1.0, color=colour)
    axes.axvline(threshold, color=INK, linewidth=1.4)
    axes.set_facecolor("#e7eaee")
    axes.set_xlim(floor, reach + 0.04 * (reach - floor))
    axes.set_ylim(-0.5, 0.5)


def overlay(images: Array, heat: Array, low: float, high: float) -> Array:
    """Heat over the grey image: the hotter, the less the image shows through."""
    from matplotlib import colormaps

    level = np.clip((heat - low) / (high - low), 0.0, 1.0)[..., None]
    grey = np.repeat(images.mean(axis=-1, keepdims=True), 3, axis=-1)
    strength = 0.1 + 0.75 * level
    blended = (1 - strength) * grey + strength * colormaps[HEAT](level[..., 0])[..., :3]
    return np.asarray(blended)


def heat_scale(heat: Array) -> tuple[float, float]:
    """Shared ends of the colour scale; a few extreme pixels do not darken the rest."""
    low, high = (float(v) for v in np.quantile(heat, (0.02, 0.999)))
    return low, max(high, low + 1e-9)


def _colours(
    figure: Figure, place: tuple[float, float], length: float, ends: tuple[float, float]
) -> None:
    axes = add_axes(figure, place, (length, 0.1), gap=0.02)
    axes.imshow(np.linspace(0, 1, 256)[None], cmap=HEAT, aspect="auto")
    y = place[1] + 0.2
    add_text(figure, place[0], y, f"{ends[0]:.3g}", ha="left", size=7, color=FAINT)
    add_text(figure, place[0] + length, y, f"{ends[1]:.3g}", ha="right", size=7, color=FAINT)
    add_text(figure, place[0] + length / 2, y, "heat map, one scale for all", size=7, color=FAINT)
