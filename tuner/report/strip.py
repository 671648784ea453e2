"""A strip of pictures: what an augmentation looked like while it was learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from numpy.typing import ArrayLike

from tuner.report.sheet import (
    FAINT,
    FOOT_INCHES,
    HEAD_INCHES,
    add_axes,
    add_foot,
    add_head,
    add_text,
    as_pictures,
    cell_of,
    new_figure,
    save,
)

LINE_INCHES = 0.15


def augmentation_strip(
    normal: ArrayLike,
    stages: Sequence[ArrayLike],
    names: Sequence[str],
    path: Path,
    *,
    title: str,
    caption: str = "",
) -> None:
    """A row for each normal image: itself, then what every stage of learning made of it.

    `normal` and each of `stages` are float `[n, 3, H, W]` in [0, 1]; `names` says what stands over
    a stage, in one or several lines. Raises ValueError for other shapes or numbers.
    """
    before = as_pictures(normal, "normal")
    columns = [before, *(as_pictures(stage, "a stage") for stage in stages)]
    wrong = next((c.shape for c in columns if c.shape != before.shape), None)
    if wrong is not None or len(names) != len(stages):
        raise ValueError(
            f"{len(stages)} stages have {len(names)} names, and normal is {before.shape}"
            + (f", but a stage is {wrong}" if wrong is not None else "")
        )
    count, height, width = before.shape[:3]
    cell = cell_of(height, width)
    lines = max(name.count("\n") + 1 for name in ("normal", *names))
    left, top = 0.16, HEAD_INCHES + LINE_INCHES * lines
    figure = new_figure(
        (2 * left + cell[0] * len(columns), top + cell[1] * count + FOOT_INCHES),
    )
    for column, (name, images) in enumerate(zip(("normal", *names), columns, strict=True)):
        middle = left + (column + 0.5) * cell[0]
        add_text(figure, middle, top - 0.07, name, va="bottom", size=7.5, color=FAINT)
        for row, image in enumerate(images):
            axes = add_axes(figure, (left + column * cell[0], top + row * cell[1]), cell)
            axes.imshow(image, interpolation="nearest")
    add_head(figure, title)
    add_foot(figure, "the same images and the same draws in every column", caption)
    save(figure, path)
