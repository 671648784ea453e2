"""The picture of the demonstration: what was learned against what was true, and the way there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from cells import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of a task: an image with its own patch, and the same with the learned one, uint8 [H, W, 3].
Examples = Callable[[Record], tuple[np.ndarray, np.ndarray]]


def picture(
    path: Path, tasks: Sequence[Record], cells: Mapping[str, Record], examples: Examples
) -> None:
    """Learned size and ratio, AUC, the sizes' ways from every start, and images of some tasks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sizes, aspects = sorted({t["size"] for t in tasks}), sorted({t["aspect"] for t in tasks})
    figure = pyplot.figure(figsize=(16, 8.5), layout="constrained")
    upper, lower = np.ravel(figure.subfigures(2, 1, height_ratios=(3, 2)))
    panels = upper.subplots(1, 4)
    _learned(panels[0], tasks, ("size", "learned_size"), ("aspect", aspects))
    panels[0].set_title("size, a share of the image's area")
    _learned(panels[1], tasks, ("aspect", "learned_aspect"), ("size", sizes))
    panels[1].set_title("aspect, width over height")
    _aucs(panels[2], tasks, sizes, aspects)
    middle = min(aspects, key=lambda aspect: abs(math.log(aspect)))
    _ways(panels[3], [t for t in tasks if t["aspect"] == middle], cells)
    row = [t for t in tasks if t["aspect"] == middle]
    row += [t for t in tasks if t["size"] == sizes[len(sizes) // 2] and t["aspect"] != middle]
    _images(lower.subplots(2, len(row), squeeze=False), row, examples)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def _colour(number: int, count: int) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"](0.9 * number / max(1, count - 1))


def _learned(
    axes: Axes, tasks: Sequence[Record], keys: tuple[str, str], by: tuple[str, list[float]]
) -> None:
    name, values = by
    for number, value in enumerate(values):
        pairs = sorted((t[keys[0]], t[keys[1]]) for t in tasks if t[name] == value)
        colour = _colour(number, len(values))
        axes.plot(*zip(*pairs, strict=True), "o-", color=colour, label=f"{name} {value:g}")
    ends = [min(t[keys[0]] for t in tasks), max(t[keys[0]] for t in tasks)]
    axes.plot(ends, ends, ":", color="grey", label="as true")
    axes.set(xscale="log", yscale="log", xlabel="true", ylabel="learned")
    true = sorted({t[keys[0]] for t in tasks})
    axes.set_xticks(true, [f"{value:g}" for value in true])
    axes.set_xticks([], minor=True)
    axes.legend(fontsize=8)


def _aucs(axes: Axes, tasks: Sequence[Record], sizes: list[float], aspects: list[float]) -> None:
    found = {(t["size"], t["aspect"]): t["auc"] for t in tasks}
    grid = np.array([[found.get((s, a), np.nan) for s in sizes] for a in aspects])
    axes.imshow(grid, cmap="RdYlGn", vmin=0.9, vmax=1.0, origin="lower", aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        axes.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=9)
    axes.set(xticks=range(len(sizes)), yticks=range(len(aspects)), xlabel="size", ylabel="aspect")
    axes.set_xticklabels([f"{s:g}" for s in sizes])
    axes.set_yticklabels([f"{a:g}" for a in aspects])
    axes.set_title("AUC of the chosen trial")


def _ways(axes: Axes, tasks: Sequence[Record], cells: Mapping[str, Record]) -> None:
    for number, task in enumerate(tasks):
        colour = _colour(number, len(tasks))
        for name in task["siblings"]:
            way = [(step, size) for step, size, _ in cells[name].get("way", [])]
            chosen = name == task["trial"]
            if way:
                axes.plot(*zip(*way, strict=True), color=colour, lw=2.5 if chosen else 0.7)
        axes.axhline(task["size"], color=colour, ls=":", lw=1)
    axes.set(yscale="log", xlabel="training step", ylabel="size")
    axes.set_title("ways of the size\n(bold: chosen, dotted: true)")


def _images(grid: np.ndarray, tasks: Sequence[Record], examples: Examples) -> None:
    for column, task in enumerate(tasks):
        for axes, image in zip(grid[:, column], examples(task), strict=True):
            axes.imshow(image, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
        grid[0, column].set_title(f"size {task['size']:g}\naspect {task['aspect']:g}", fontsize=9)
    grid[0, 0].set_ylabel("true")
    grid[1, 0].set_ylabel("learned")
