"""What a person sees of a job: its plan, its progress, its result."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tuner.screen.ending import ending, settings_table
from tuner.screen.tables import make_console, shown, table_of
from tuner.screen.verdicts import (
    DEMO,
    arms_block,
    audit_block,
    criteria_block,
    defects_block,
    reliability_block,
    threshold_line,
)
from tuner.screen.view import LineView, LiveView, warning
from tuner.study.conductor import Conductor, Observer
from tuner.study.ledger import Ledger
from tuner.study.plan import Plan
from tuner.study.workbench import Workbench


def make_voice(*, to_error: bool) -> ConsoleVoice:
    """A voice on standard output, or on standard error where that must hold JSON alone."""
    return ConsoleVoice(make_console(sys.stderr if to_error else sys.stdout))


class ConsoleVoice:
    """Speaks to a console; a live table on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._view: LiveView | LineView | None = None
        self._told = -1

    def say(self, text: str) -> None:
        self.console.print(text, style="dim")

    def warn(self, text: str) -> None:
        self.console.print(warning(text))

    def progress(self, done: int, total: int) -> None:
        quarter = 4 * done // max(total, 1)
        if quarter != self._told and done < total:
            self._told = quarter
            self.say(f"preparing images: {done} of {total}")

    def plan(self, plan: Plan, workbench: Workbench) -> None:
        config, prepared = plan.config, workbench.prepared
        self.console.print(
            Text.assemble(
                ("study ", "bold"), (config.name, "bold cyan"), f"  category {config.category}"
            )
        )
        source = DEMO if prepared.demo else f"{prepared.location} ({prepared.layout} layout)"
        rows = Table(box=None, show_header=False, pad_edge=False)
        rows.add_column(style="dim")
        rows.add_column(overflow="fold")
        rows.add_row("data", source)
        for subject, text in plan.lines():
            rows.add_row(subject, text)
        self.console.print(Padding(rows, (0, 0, 1, 2)))

    def watch(self, plan: Plan, conductor: Conductor, ledger: Ledger) -> Observer | None:
        kind = LiveView if self.console.is_terminal else LineView
        self._view = kind(self.console, plan, conductor, ledger)
        self._view.begin()
        return self._view

    def unwatch(self) -> None:
        if self._view is not None:
            self._view.close()
            self._view = None

    def summary(self, summary: Mapping[str, Any], *, verbose: bool = False) -> None:
        """What a study found, in a dozen lines; with `verbose` all else before that."""
        self.console.print()
        if verbose:
            self._in_full(summary)
        self.console.print(ending(summary, self.console.width))
        if summary["tracking_pending"]:
            self.warn(
                f"{summary['tracking_pending']} values wait for the tracking store; "
                f"they are written at the next: tuner resume {summary['study']}"
            )

    def _in_full(self, summary: Mapping[str, Any]) -> None:
        """Everything that the summary holds of the winner, its rivals and its warnings."""
        winner, trials = summary["winner"], summary["trials"]
        criteria = ", ".join(
            f"{name} {shown(value) if value is not None else 'not applicable'}"
            for name, value in winner["criteria"].items()
        )
        lead = "lead of the ensemble" if winner["members"] else "winner"
        self.console.print(
            Text.assemble(
                (f"{lead} ", "bold"), (f"trial {winner['trial']}", "bold green"), f": {criteria}"
            )
        )
        if winner["learned"]:
            self.console.print(Text.assemble(("learned ", "dim"), _named(winner["learned"])))
        ended = (
            f"{trials['finished']} finished, {trials['stopped_early']} stopped early, "
            f"{trials['failed']} failed"
        )
        self.console.print(Text.assemble(("trials ", "dim"), ended))
        self.console.print(Padding(settings_table(winner), (1, 0, 1, 2)))
        self.console.print(Padding(arms_block(summary["arms"]), (0, 0, 1, 0)))
        self.console.print(Padding(reliability_block(summary["reliability"]), (0, 0, 1, 0)))
        if summary["audit"] is not None:
            self.audit(summary["audit"], demo=summary["data"]["demo"])
        else:
            self.say("no labels in the data, so nothing to audit")
        self._groups(summary["groups"])
        self._warnings(summary["warnings"], winner["trial"])
        if caution := summary.get("threshold", {}).get("caution"):
            self.warn(caution)
        self.console.print(Text.assemble(("study folder ", "dim"), str(summary["folder"])))
        self.console.print(Text.assemble(("tracking ", "dim"), str(summary["tracking"])))
        self.console.print()

    def audit(self, audit: Mapping[str, Any], *, demo: bool = False) -> None:
        """The figures that labels give, apart from the search."""
        blocks = [audit_block(audit, demo=demo), criteria_block(audit), defects_block(audit)]
        for block in blocks:
            if block is not None:
                self.console.print(block)
        self.console.print(threshold_line(audit))

    def reliability(self, audit: Mapping[str, Any]) -> None:
        """What the study had said of itself, where it did, beside what labels say."""
        if audit["reliability"] is not None:
            self.console.print(reliability_block(audit["reliability"]))

    def comparison(self, comparison: Mapping[str, Any]) -> None:
        """Studies in columns, in groups of lines."""
        for title, rows in comparison["rows"].items():
            lines = [
                {
                    title: name.replace("_", " "),
                    **dict(zip(comparison["studies"], values, strict=True)),
                }
                for name, values in rows.items()
            ]
            self.console.print(Padding(table_of(lines), (0, 0, 1, 0)))
        for caution in comparison["cautions"]:
            self.warn(caution)

    def _groups(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Siblings side by side: where each began, what it learned, how much its scores vary."""
        for group in groups:
            if len(group["members"]) < 2:
                continue
            rows = [
                {
                    "trial": member["trial"],
                    "began at": _named(member["start"]),
                    "learned": _named(member["learned"]),
                    "score variance": member[group["chosen_by"]],
                    "": "chosen" if member["trial"] == group["chosen"] else _why_not(member),
                }
                for member in group["members"]
            ]
            head = Text(f"{group['group']}: siblings, chosen among by standardised score variance")
            self.console.print(
                Padding(Group(head, Padding(table_of(rows), (0, 0, 0, 2))), (1, 0, 0, 0))
            )

    def _warnings(self, warnings: Sequence[Mapping[str, Any]], winner: int) -> None:
        """Those of the winner in full; of the others, how many there are."""
        others = {found["trial"] for found in warnings if found["trial"] != winner}
        for found in warnings:
            if found["trial"] == winner:
                self.warn(f"trial {winner}, the winner: {found['text']}")
        if others:
            trials = f"{len(others)} other trial{'s' * (len(others) > 1)}"
            self.say(f"{trials} with warnings: see warnings in summary.json")

    def status(self, status: Mapping[str, Any]) -> None:
        """One study's state, then its trials."""
        self.console.print(
            Text.assemble(
                (status["study"], "bold"),
                f"  {status['state']}: {_progress(status)}, "
                f"{status['seconds'] / 60:.1f} min at work",
            )
        )
        if status["best"] is not None:
            self.console.print(f"best so far: trial {status['best']} by {status['criterion']}")
        if status["reliability"] is not None:
            self.console.print(reliability_block(status["reliability"]))
        if status["trials"]:
            self.console.print(table_of([_status_row(trial) for trial in status["trials"]]))
        self._groups(status["groups"])
        if status["next"]:
            if status["tracking_waits"]:
                self.console.print("results wait for the tracking store")
            elif status["spent"] >= 1 and status["registered"] is None:
                self.console.print("all trials have ended, but no winner is registered yet")
            self.console.print(f"go on with: {status['next']}")


def _progress(status: Mapping[str, Any]) -> str:
    """What has ended of a study's budget."""
    running = f", {status['running']} running" if status["running"] else ""
    if status["budget"].endswith("trials"):
        return f"{status['ended']} of {status['budget']} ended{running}"
    return f"{status['spent']:.0%} of {status['budget']} spent, {status['ended']} ended{running}"


def _status_row(trial: Mapping[str, Any]) -> dict[str, Any]:
    """One trial of a study as a line of its status."""
    kind = trial["kind"]
    if trial["origin"] is not None:
        kind += f" (of {trial['origin']})"
    if trial["source"]:
        kind += f" ({trial['source']})"
    return {
        "trial": trial["trial"],
        "kind": kind,
        "method": trial["method"],
        "state": trial["state"].replace("_", " "),
        "rung": trial["rung"],
        "criterion": trial["criterion"],
        "learned": _named(trial["learned"]),
        "warnings": len(trial["warnings"]) or None,
        "reason": trial["reason"],
    }


def _named(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.removeprefix('initial_')} {shown(v)}" for name, v in values.items())


def _why_not(member: Mapping[str, Any]) -> str:
    """Why a sibling stands behind the others, where it is not its variance."""
    if member["state"] not in ("finished", "stopped_early"):
        return str(member["state"])
    return "" if member["comparable"] else "not comparable: see its warnings"
