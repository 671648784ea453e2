"""Writes the report of a study."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from tuner.mending import mend
from tuner.study.home import Home, StudyFolder, private
from tuner.study.ledger import Entry, Ledger
from tuner.study.workbench import Workbench, set_up


def report(name: str, home: Home, target: Path | None = None) -> Path:
    """Write the report of a study that has ended; returns its path.

    Without `target` it goes into the study's folder. Raises ValueError for an unknown study, or one
    that has no winner yet.
    """
    from tuner.study.config import ledger_url, read_config

    config = read_config(name, home)
    folder = home.study(name)
    ledger = Ledger.read(ledger_url(config, home), name)
    registered = ledger.notes().get("registered")
    if registered is None or not folder.summary.is_file():
        raise ValueError(f"{name} has no winner yet; end it first by: tuner resume {name}")
    with private():
        bench = set_up(config, home)
        mend(bench, ledger.entries(), folder, registered)
    with private() if target is None else contextlib.nullcontext():
        write_report(bench, ledger.entries(), folder, target or folder.report)
    return target or folder.report


def write_report(
    bench: Workbench, entries: Sequence[Entry], folder: StudyFolder, target: Path
) -> None:
    """Write the page whole or not at all."""
    from tuner.report.page import render
    from tuner.story import tell

    page = render(tell(bench, entries, folder))
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(target.name + ".part")
    draft.write_text(page, encoding="utf-8")
    draft.replace(target)
