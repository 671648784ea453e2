"""Charts of the report: SVG that takes its colours from the page, for the light and the dark."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuner.report.page.story import Chart, TrialRow
from tuner.report.page.wording import metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What matplotlib draws with, and what the page makes of it.
INK, FAINT, GRID, ACCENT, GOOD, ALARM, QUIET = (
    "#010101",
    "#020202",
    "#030303",
    "#040404",
    "#050505",
    "#060606",
    "#070707",
)
_COLOURS = {
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    GRID: "var(--line)",
    ACCENT: "var(--accent)",
    GOOD: "var(--good)",
    ALARM: "var(--alarm)",
    QUIET: "var(--quiet)",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "grid.color": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
_STATES = {
    "finished": (ACCENT, "o", "finished"),
    "stopped_early": (QUIET, "o", "stopped early"),
    "failed": (ALARM, "X", "failed"),
}


def by_trial(trials: Sequence[TrialRow], criterion: str, direction: str, winner: int) -> Chart:
    """The leading criterion of each trial in the order of the search, and the best so far."""
    judged = [t for t in trials if t.value is not None]

    def draw(axes: Axes) -> None:
        for state, (colour, marker, label) in _STATES.items():
            own = [t for t in judged if t.state == state]
            if own:
                axes.scatter(
                    [t.number for t in own],
                    [float(t.value or 0.0) for t in own],
                    color=colour,
                    marker=marker,
                    s=26,
                    label=label,
                    zorder=3,
                )
        chosen = [t for t in judged if t.number == winner]
        for trial in chosen:
            axes.scatter(
                [trial.number],
                [float(trial.value or 0.0)],
                s=110,
                facecolors="none",
                edgecolors=GOOD,
                linewidths=2,
                label="winner",
                zorder=4,
            )
        finished = [t for t in judged if t.state == "finished"]
        best: list[float] = []
        for trial in finished:
            value = float(trial.value or 0.0)
            better = max if direction == "maximize" else min
            best.append(better(best[-1], value) if best else value)
        if best:
            places = [t.number for t in finished]
            axes.step(places, best, where="post", color=GOOD, linewidth=1.4, label="best so far")
        axes.set_xlabel("trial")
        axes.locator_params(axis="x", integer=True)
        axes.set_ylabel(metric(criterion))
        if judged:
            axes.legend(fontsize=8, loc="best")

    ends = [float(t.value or 0.0) for t in judged]
    text = (
        f"{len(judged)} trials; {metric(criterion)} from {min(ends):.4g} to {max(ends):.4g}."
        if ends
        else "No trial was judged."
    )
    return _chart("Criterion by trial", "by-trial", text, draw)


def by_rung(trials: Sequence[TrialRow], criterion: str, winner: int) -> Chart:
    """How the leading criterion of each trial moved from rung to rung; stopped trials end early."""

    def draw(axes: Axes) -> None:
        for trial in trials:
            seen = [(i + 1, v) for i, v in enumerate(trial.rungs) if v is not None]
            if not seen:
                continue
            chosen = trial.number == winner
            colour = GOOD if chosen else ACCENT if trial.state == "finished" else QUIET
            axes.plot(
                [rung for rung, _ in seen],
                [value for _, value in seen],
                color=colour,
                linewidth=2.4 if chosen else 1.0,
                marker="o",
                markersize=4 if chosen else 2.5,
                alpha=1.0 if chosen or trial.state == "finished" else 0.7,
                zorder=4 if chosen else 2,
            )
        deepest = max((len(t.rungs) for t in trials), default=1)
        axes.set_xticks(range(1, deepest + 1))
        axes.set_xlabel("rung")
        axes.set_ylabel(metric(criterion))

    stopped = sum(t.state == "stopped_early" for t in trials)
    text = f"One line a trial; the winner's is thick. {stopped} trials were stopped early."
    return _chart("Criterion by rung", "by-rung", text, draw)


def importances(values: Mapping[str, float], note: str = "") -> Chart:
    """How much each hyperparameter explains of the leading criterion, most important first; `note`
    says over which trials that was found."""
    order = sorted(values, key=lambda name: values[name])

    def draw(axes: Axes) -> None:
        axes.barh(order, [values[name] for name in order], color=ACCENT, height=0.6)
        axes.set_xlabel("share of the criterion's variance (fANOVA)")
        axes.grid(axis="y", visible=False)

    named = ", ".join(f"{name} {values[name]:.2f}" for name in order[::-1][:3])
    text = f"Most important: {named}. {note}".rstrip()
    return _chart("What mattered", "importance", text, draw, rows=len(order))


def slices(points: Sequence[Point], axes_of: Mapping[str, Axis], criterion: str) -> Chart:
    """A panel a hyperparameter: its value across, the leading criterion up, a trial a dot."""

    def draw(figure: Any) -> None:
        columns = min(4, len(axes_of))
        rows = -(-len(axes_of) // columns)
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for panel in panels.flat[len(axes_of) :]:
            panel.set_axis_off()
        for panel, (name, axis) in zip(panels.flat, axes_of.items(), strict=False):
            for colour, own, size in _by_rank(points):
                some = [p for p in own if name in p.values]
                panel.scatter(
                    [axis.place(p.values[name]) for p in some],
                    [p.value for p in some],
                    color=colour, s=size, zorder=3,
                )  # fmt: skip
            panel.set_xticks(*axis.ticks())
            panel.set_xlim(-0.05, 1.05)
            panel.set_title(metric(name), fontsize=9, color=INK)
            panel.tick_params(labelsize=8)
        for row in panels:
            row[0].set_ylabel(metric(criterion), fontsize=8)

    text = "A trial a dot, at its last rung; green is the winner, blue the best quarter."
    height = 2.2 * -(-len(axes_of) // 4) + 0.3
    size = (11.0, height) if len(axes_of) > 1 else None
    return _chart("Slices", "slices", text, draw, whole=True, size=size)


def parallel(points: Sequence[Point], axes_of: Mapping[str, Axis], criterion: str) -> Chart:
    """A line a trial through the values of its hyperparameters; the criterion is the last axis."""
    low, high = min(p.value for p in points), max(p.value for p in points)
    last = Axis(low=low, high=high)
    every = {**axes_of, criterion: last}

    def draw(axes: Axes) -> None:
        for colour, own, size in _by_rank(points):
            for point in own:
                values = {**point.values, criterion: point.value}
                places = [
                    (i, every[n].place(values[n])) for i, n in enumerate(every) if n in values
                ]
                axes.plot(
                    [x for x, _ in places], [y for _, y in places],
                    color=colour, linewidth=size / 16, alpha=1.0 if size > 30 else 0.6,
                )  # fmt: skip
        for column, axis in enumerate(every.values()):
            axes.axvline(column, color=GRID, linewidth=1, zorder=0)
            for place, label in zip(*axis.ticks(), strict=True):
                axes.text(column + 0.03, place, label, fontsize=8, color=FAINT, va="center")
        axes.set_xticks(range(len(every)), [metric(name) for name in every], fontsize=9)
        axes.set_yticks([])
        axes.set_xlim(-0.1, len(every) - 0.6)
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)

    text = (
        "A line a trial; green is the winner, blue the best quarter. The criterion is on the right."
    )
    return _chart("Parallel coordinates", "parallel", text, draw, size=(11.0, 3.8))


def timeline(spans: Sequence[tuple[int, str, float, float]]) -> Chart:
    """When each trial ran: (trial, state, start, end) in seconds since any moment."""
    began = min(start for _, _, start, _ in spans)
    end = max(end for *_, end in spans)
    unit, said = (60.0, "minutes") if end - began > 180 else (1.0, "seconds")

    def draw(axes: Axes) -> None:
        for state, (colour, _, label) in _STATES.items():
            own = [span for span in spans if span[1] == state]
            axes.barh(
                [number for number, *_ in own],
                [(end - start) / unit for *_, start, end in own],
                left=[(start - began) / unit for *_, start, _ in own],
                color=colour, height=0.8, label=label if own else None,
            )  # fmt: skip
        axes.invert_yaxis()
        axes.set_xlabel(f"{said} since the first trial began")
        axes.set_ylabel("trial")
        axes.locator_params(axis="y", integer=True)
        axes.legend(fontsize=8, loc="best")

    text = f"A bar a trial, from its start to its end; {(end - began) / unit:.3g} {said} in all."
    return _chart("Timeline", "timeline", text, draw, rows=min(14, len(spans)))


@dataclass(frozen=True)
class Point:
    """A trial on the plots of the search. `rank` is its place by the criterion, 0 the best; the
    winner's is -1."""

    values: Mapping[str, Any]
    value: float
    rank: int


@dataclass(frozen=True)
class Axis:
    """Where values of one hyperparameter lie between 0 and 1: numbers by their range, choices one
    after another."""

    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: Sequence[Any] = ()

    def place(self, value: Any) -> float:
        if self.choices:
            return self.choices.index(value) / max(1, len(self.choices) - 1)
        low, high, own = (
            (math.log(v) if self.log else float(v)) for v in (self.low, self.high, value)
        )
        return (own - low) / (high - low) if high > low else 0.5

    def ticks(self) -> tuple[list[float], list[str]]:
        shown = list(self.choices) if self.choices else [self.low, self.high]
        if len(shown) > 4:
            shown = [shown[0], shown[-1]]
        words = [f"{v:.3g}" if isinstance(v, float) else str(v)[:14] for v in shown]
        return [self.place(v) for v in shown], words


def _by_rank(points: Sequence[Point]) -> list[tuple[str, list[Point], float]]:
    """The others, the best quarter and the winner, with their colours and sizes."""
    quarter = max(1, len(points) // 4)
    return [
        (QUIET, [p for p in points if p.rank >= quarter], 14),
        (ACCENT, [p for p in points if 0 <= p.rank < quarter], 22),
        (GOOD, [p for p in points if p.rank < 0], 50),
    ]


def scatter(
    title: str,
    name: str,
    points: Sequence[tuple[float, float, int]],
    *,
    axes_names: tuple[str, str],
    winner: int,
    text: str,
) -> Chart:
    """A trial a dot: (x, y, trial)."""

    def draw(axes: Axes) -> None:
        others = [p for p in points if p[2] != winner]
        axes.scatter([p[0] for p in others], [p[1] for p in others], color=ACCENT, s=24, zorder=3)
        for x, y, number in points:
            if number == winner:
                axes.scatter([x], [y], color=GOOD, s=60, zorder=4, label=f"winner, trial {number}")
                axes.legend(fontsize=8, loc="best")
        axes.set_xlabel(metric(axes_names[0]))
        axes.set_ylabel(metric(axes_names[1]))

    return _chart(title, name, text, draw)


def trajectories(
    title: str, name: str, steps: Sequence[int], learned: Mapping[str, Sequence[float]]
) -> Chart:
    """What a self-tuning trial learned, by its training steps; a panel a parameter."""

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, len(learned), squeeze=False)[0]
        for axes, (parameter, values) in zip(panels, learned.items(), strict=True):
            axes.plot(steps, values, color=ACCENT, linewidth=1.6)
            axes.set_title(parameter, fontsize=10, color=INK)
            axes.set_xlabel("step")
            if parameter.endswith("size") and max(values) > 10 * min(values) > 0:
                axes.set_yscale("log")

    ends = ", ".join(f"{p} from {v[0]:.3g} to {v[-1]:.3g}" for p, v in learned.items())
    return _chart(title, name, f"Learned by gradient: {ends}.", draw, whole=True)


def curve(
    title: str,
    name: str,
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    axes_names: tuple[str, str],
    text: str,
) -> Chart:
    """Named lines of (x, y) in the unit square."""

    def draw(axes: Axes) -> None:
        for (label, (x, y)), colour in zip(lines.items(), (GOOD, QUIET, ACCENT), strict=False):
            axes.plot(x, y, color=colour, linewidth=1.8, label=label)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.set_xlabel(axes_names[0])
        axes.set_ylabel(axes_names[1])
        axes.legend(fontsize=8, loc="lower right")

    return _chart(title, name, text, draw)


def _chart(
    title: str,
    name: str,
    text: str,
    draw: Any,
    *,
    rows: int = 0,
    whole: bool = False,
    size: tuple[float, float] | None = None,
) -> Chart:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        usual = (6.4, max(3.4, 0.3 * rows + 0.9))
        figure = Figure(figsize=size or usual, layout="constrained")
        draw(figure if whole else figure.subplots())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return Chart(title, _for_the_page(buffer.getvalue(), name), text, wide=size is not None)


def _for_the_page(svg: str, name: str) -> str:
    """Without its own head and size; colours of the page; addresses that are unique on it."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    opening, rest = svg.split(">", 1)
    svg = re.sub(r' (?:width|height)="[^"]*"', "", opening) + ">" + rest
    for colour, variable in _COLOURS.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    return re.sub(r"url\(#", f"url(#{name}-", svg)
