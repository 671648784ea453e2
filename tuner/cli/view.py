"""Live views of a running study."""

from __future__ import annotations

import time
from collections import deque

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuner.cli.tables import shown
from tuner.study.conductor import Conductor
from tuner.study.files import Record
from tuner.study.ledger import Entry, Ledger
from tuner.study.plan import Plan
from tuner.study.selection import rank
from tuner.study.trial import TrialSpec

RECENT = 8


class _Standing:
    """How the study stands, kept up from its events."""

    def __init__(self, plan: Plan, conductor: Conductor, ledger: Ledger) -> None:
        self.plan = plan
        self.objective = conductor.objective
        self.done: dict[int, Entry] = {
            entry.number: entry for entry in ledger.entries() if entry.state != "running"
        }
        self.running: dict[int, tuple[Entry, float]] = {}

    def best(self) -> Entry | None:
        ranked = rank(list(self.done.values()), self.objective)
        return ranked[0] if ranked else None

    def value(self, entry: Entry) -> float | None:
        found: float | None = entry.last.get("criteria", {}).get(self.objective.name)
        return found


def warning_count(entry: Entry) -> str:
    return f"{len(entry.warnings)} warning{'s' * (len(entry.warnings) > 1)}"


def warning(text: str) -> Text:
    """A warning as a line."""
    return Text.assemble(("warning ", "yellow"), text)


class LineView(_Standing):
    """One line for each trial that ends: for pipes, files and continuous integration."""

    def __init__(self, console: Console, plan: Plan, conductor: Conductor, ledger: Ledger) -> None:
        super().__init__(plan, conductor, ledger)
        self.console = console
        self._began = time.monotonic()

    def begin(self) -> None:
        if self.plan.config.engine == "ray":
            self.console.print("starting Ray", style="dim")

    def close(self) -> None: ...

    def started(self, entry: Entry, spec: TrialSpec) -> None:
        self.running[entry.number] = (entry, time.monotonic())
        if entry.deaths:
            self._print(
                f"trial {entry.number:<3d} lost its process, goes on from rung {entry.rung}"
            )

    def reported(self, entry: Entry, record: Record) -> None: ...

    def ended(self, entry: Entry) -> None:
        self.running.pop(entry.number, None)
        self.done[entry.number] = entry
        self._print(self._line(entry))
        if entry.state == "finished":
            for text in entry.warnings:
                self.console.print(Text.assemble(" " * 8, warning(text)), soft_wrap=True)

    def _print(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        self.console.print(f"{minutes:3d}:{seconds:02d}  {text}", soft_wrap=True)

    def _line(self, entry: Entry) -> str:
        text = f"trial {entry.number:<3d} {entry.kind:<7s} {entry.state.replace('_', ' '):<14s}"
        if entry.state == "failed":
            return text + entry.reason
        value, best = self.value(entry), self.best()
        text += f"rung {entry.rung}/{self.plan.config.rungs}  "
        text += f"{self.objective.name} {'undefined' if value is None else shown(value):<8s}"
        if best is not None:
            text += f"  best {shown(self.value(best))} (trial {best.number})"
        if entry.warnings and entry.state != "finished":
            text += "  " + warning_count(entry)
        return text


class LiveView(_Standing):
    """A block that redraws itself: progress, what runs, what ended last, what is best.

    Its height does not grow with the study, so that it stays readable with hundreds of trials.
    """

    def __init__(self, console: Console, plan: Plan, conductor: Conductor, ledger: Ledger) -> None:
        super().__init__(plan, conductor, ledger)
        self._began = time.monotonic()
        self._share = 0.0
        self._recent: deque[Entry] = deque(maxlen=RECENT)
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=2)

    def begin(self) -> None:
        self._live.start()

    def close(self) -> None:
        self._live.stop()

    def started(self, entry: Entry, spec: TrialSpec) -> None:
        self.running = {**self.running, entry.number: (entry, time.monotonic())}

    def reported(self, entry: Entry, record: Record) -> None:
        _, since = self.running.get(entry.number, (entry, time.monotonic()))
        self.running = {**self.running, entry.number: (entry, since)}

    def ended(self, entry: Entry) -> None:
        self.running = {n: pair for n, pair in self.running.items() if n != entry.number}
        self.done[entry.number] = entry
        self._recent.appendleft(entry)

    def _draw(self) -> RenderableType:
        # Rich draws from a thread of its own, so this reads only what events replace as a whole.
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("trial", "kind", "method", "state", "rung", self.objective.name, "seconds"):
            table.add_column(name, justify="right" if name in ("trial", "rung") else "left")
        now = time.monotonic()
        for entry, since in sorted(self.running.values(), key=lambda pair: pair[0].number):
            self._row(table, entry, "running", now - since, "cyan")
        for entry in list(self._recent):
            style = {"finished": "green", "failed": "red"}.get(entry.state, "dim")
            state = entry.reason[:40] if entry.state == "failed" else entry.state.replace("_", " ")
            state += f", {warning_count(entry)}" if entry.warnings else ""
            self._row(table, entry, state, entry.last.get("seconds", 0.0), style)
        # A bar by itself ends no line: padding of nothing does.
        bar = Padding(ProgressBar(1.0, self._share, width=60), 0)
        parts: list[RenderableType] = [self._headline(now), bar, table]
        warned = next((entry for entry in self._recent if entry.warnings), None)
        if warned is not None:
            text = f"trial {warned.number} warns: {warned.warnings[0]}"
            parts.append(Text(text, "yellow", no_wrap=True, overflow="ellipsis"))
        return Group(*parts)

    def _headline(self, now: float) -> Text:
        self._share = len(self.done) / max(self.plan.expected()[0], 1.0)
        best = self.best()
        text = Text(f"{len(self.done)} trials ended, {len(self.running)} running, ")
        text.append(f"{(now - self._began) / 60:.1f} min")
        if best is not None:
            value = self.value(best)
            text.append(f"   best: trial {best.number}, {self.objective.name} ", "bold")
            text.append("undefined" if value is None else shown(value), "bold green")
        return text

    def _row(self, table: Table, entry: Entry, state: str, seconds: float, style: str) -> None:
        value = self.value(entry)
        table.add_row(
            str(entry.number),
            entry.kind,
            entry.method,
            state,
            f"{entry.rung}/{self.plan.config.rungs}",
            "" if value is None else shown(value),
            f"{seconds:.0f}",
            style=style,
        )
