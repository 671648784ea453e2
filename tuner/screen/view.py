"""Live views of a running study."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuner.screen.tables import brief, shown
from tuner.study.arms import default_of
from tuner.study.conductor import Conductor
from tuner.study.files import Record, TrialFiles
from tuner.study.ledger import Entry, Ledger
from tuner.study.plan import Plan, duration
from tuner.study.pool import values_at
from tuner.study.selection import rank
from tuner.study.trial import TrialSpec

RECENT = 8


class _Standing:
    """How the study stands, kept up from its events."""

    def __init__(self, plan: Plan, conductor: Conductor, ledger: Ledger) -> None:
        self.plan, self.conductor = plan, conductor
        self.objective = conductor.objective
        self.began = time.monotonic()
        self.done: dict[int, Entry] = {
            entry.number: entry for entry in ledger.entries() if entry.state != "running"
        }
        self.running: dict[int, tuple[Entry, float]] = {}
        self.steps: dict[int, int] = {}
        self._defaults: dict[int, float | None] = {}
        # Seconds left, and when that was known.
        self._left: tuple[float, float] | None = None
        self._spent = 0.0

    def started(self, entry: Entry, spec: TrialSpec) -> None:
        self.steps[entry.number] = int(spec.hyperparameters.get("steps", 0))
        self.running = {**self.running, entry.number: (entry, time.monotonic())}
        self._look_ahead()

    def reported(self, entry: Entry, record: Record) -> None:
        _, since = self.running.get(entry.number, (entry, time.monotonic()))
        self.running = {**self.running, entry.number: (entry, since)}
        self._look_ahead()

    def ended(self, entry: Entry) -> None:
        self.running = {n: pair for n, pair in self.running.items() if n != entry.number}
        self.done = {**self.done, entry.number: entry}
        self._look_ahead()

    def best(self) -> Entry | None:
        """The best finished trial: one that was stopped early, and judged after less training, may
        look better and does not win."""
        finished = [entry for entry in self.done.values() if entry.state == "finished"]
        ranked = rank(finished, self.objective)
        return ranked[0] if ranked else None

    def value(self, entry: Entry) -> float | None:
        found: float | None = entry.last.get("criteria", {}).get(self.objective.name)
        return found

    def over_defaults(self, entry: Entry) -> float | None:
        """How far a trial is ahead of the defaults of its method, under their own scoring; None
        where that is not known."""
        default, value = default_of(list(self.done.values()), entry.method), self.value(entry)
        if default is None or value is None:
            return None
        if default.number not in self._defaults:
            files = TrialFiles(Path(self.conductor.folder(default.number)))
            setting = self.conductor.template(default.method).default_setting
            self._defaults[default.number] = values_at(files, setting).get(self.objective.name)
        reference = self._defaults[default.number]
        if reference is None:
            return None
        return value - reference if self.objective.direction == "maximize" else reference - value

    def share(self) -> float:
        """Of the budget, what is spent."""
        budget = self.plan.budget
        if budget.kind == "trials":
            rungs = sum(entry.rung for entry, _ in self.running.values())
            return min(1.0, (len(self.done) + rungs / self.plan.config.rungs) / budget.amount)
        return min(1.0, budget.spent_by(self.conductor.spent()) / budget.amount)

    def _look_ahead(self) -> None:
        """Estimate what is left, from what trials took so far and, at first, from the plan."""
        budget, share, now = self.plan.budget, self.share(), time.monotonic()
        self._spent = share
        if budget.kind == "seconds":
            left = (1 - share) * budget.amount
        elif budget.kind == "trials":
            took = [e.last["seconds"] for e in self.done.values() if e.last.get("seconds")]
            # The plan counts as much as one trial.
            each = (self.plan.trial_seconds + sum(took)) / (1 + len(took))
            rounds = (1 - share) * budget.amount / self.plan.layout.parallel
            left = each * rounds
        else:
            left = (
                (1 - share)
                * budget.amount
                / (self.plan.layout.device_rate * self.plan.layout.parallel)
            )
        self._left = (left + self.plan.ending_seconds, now)

    def headline(self, now: float) -> Text:
        """How far the study is, its best trial, and how long it may take yet."""
        budget, parts = self.plan.budget, []
        if budget.kind == "trials":
            parts.append(f"{len(self.done)}/{budget.amount:.0f} trials")
        else:
            parts.append(f"{len(self.done)} trials, {self._spent:.0%} of {budget}")
        if self.plan.config.engine == "ray" and not self.running and not self.done:
            parts.append("starting Ray")
        if (best := self.best()) is not None:
            parts.append(self._best(best))
        if self._left is not None:
            left = max(0.0, self._left[0] - (now - self._left[1]))
            parts.append(f"about {duration(left)} left")
        return Text(" · ".join(parts), "bold")

    def _best(self, best: Entry) -> str:
        value, ahead = self.value(best), self.over_defaults(best)
        said = f"trial {best.number}"
        if best.kind == "default":
            said += ", the defaults with chosen scoring"
        elif ahead is not None:
            said += f", {'+' if ahead >= 0 else '-'}{brief(abs(ahead), 2)} over the defaults"
        return f"best {'undefined' if value is None else brief(value, 3)} ({said})"

    def progress(self, entry: Entry) -> str:
        """The steps of a trial that are trained and judged."""
        rungs, steps = self.plan.config.rungs, self.steps.get(entry.number, 0)
        if not steps:
            return f"{entry.rung}/{rungs}"
        return f"{steps * entry.rung // rungs}/{steps}"


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

    def begin(self) -> None:
        if self.plan.config.engine == "ray":
            self.console.print("starting Ray", style="dim")

    def close(self) -> None: ...

    def started(self, entry: Entry, spec: TrialSpec) -> None:
        super().started(entry, spec)
        if entry.deaths:
            self._print(
                f"trial {entry.number:<3d} lost its process, goes on from rung {entry.rung}"
            )

    def ended(self, entry: Entry) -> None:
        super().ended(entry)
        self._print(self._line(entry))
        if entry.state == "finished":
            for text in entry.warnings:
                self.console.print(Text.assemble(" " * 8, warning(text)), soft_wrap=True)

    def _print(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        self.console.print(f"{minutes:3d}:{seconds:02d}  {text}", soft_wrap=True)

    def _line(self, entry: Entry) -> str:
        text = f"trial {entry.number:<3d} {entry.kind:<9s} {entry.state.replace('_', ' '):<14s}"
        if entry.state == "failed":
            return text + entry.reason
        value = self.value(entry)
        text += f"step {self.progress(entry)}  {'undefined' if value is None else shown(value):<8s}"
        text += f"  {self.headline(time.monotonic())}"
        if entry.warnings and entry.state != "finished":
            text += "  " + warning_count(entry)
        return text


class LiveView(_Standing):
    """A block that redraws itself: progress, what runs, what ended last, what is best.

    Its height does not grow with the study, so that it stays readable with hundreds of trials.
    """

    def __init__(self, console: Console, plan: Plan, conductor: Conductor, ledger: Ledger) -> None:
        super().__init__(plan, conductor, ledger)
        self._recent: deque[Entry] = deque(maxlen=RECENT)
        self._look_ahead()
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=2)

    def begin(self) -> None:
        self._live.start()

    def close(self) -> None:
        self._live.stop()

    def ended(self, entry: Entry) -> None:
        super().ended(entry)
        self._recent.appendleft(entry)

    def _draw(self) -> RenderableType:
        # Rich draws from a thread of its own, so this reads only what events replace as a whole.
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("trial", "kind", "method", "state", "step", "value", "seconds"):
            justify: Literal["left", "right"] = "right" if name in ("trial", "step") else "left"
            table.add_column(name, justify=justify)
        now = time.monotonic()
        for entry, since in sorted(self.running.values(), key=lambda pair: pair[0].number):
            self._row(table, entry, "running", now - since, "cyan")
        for entry in list(self._recent):
            style = {"finished": "green", "failed": "red"}.get(entry.state, "dim")
            state = entry.reason[:40] if entry.state == "failed" else entry.state.replace("_", " ")
            state += f", {warning_count(entry)}" if entry.warnings else ""
            self._row(table, entry, state, entry.last.get("seconds", 0.0), style)
        # A bar by itself ends no line: padding of nothing does.
        bar = Padding(ProgressBar(1.0, self._spent, width=60), 0)
        parts: list[RenderableType] = [self.headline(now), bar, table]
        if table.row_count:
            parts.append(Text(f"value: {self.objective.name}", "dim"))
        warned = next((entry for entry in list(self._recent) if entry.warnings), None)
        if warned is not None:
            parts.append(Text(f"trial {warned.number} warns: {warned.warnings[0]}", "yellow"))
        return Group(*parts)

    def _row(self, table: Table, entry: Entry, state: str, seconds: float, style: str) -> None:
        value = self.value(entry)
        table.add_row(
            str(entry.number),
            entry.kind,
            entry.method,
            state,
            self.progress(entry),
            "" if value is None else shown(value),
            f"{seconds:.0f}",
            style=style,
        )
