"""Tables for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any, Literal

from rich.console import Console
from rich.table import Table

SHORT = 24
WIDTH = 110


def table_of(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> Table:
    """One column a key, numbers to the right; a repeated first cell is shown once."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for key in rows[0]:
        numeric = all(isinstance(row[key], int | float | None) for row in rows)
        # A long text gives way before a name is broken.
        short = max(len(shown(row[key])) for row in rows) <= SHORT
        justify: Literal["left", "right"] = "right" if numeric else "left"
        table.add_column(key, justify=justify, overflow="fold", no_wrap=short)
    first = next(iter(rows[0]))
    previous = object()
    for row in rows:
        cells = ["" if row[key] is None else shown(row[key]) for key in row]
        if row[first] == previous and len(row) > 3 and isinstance(row[first], str):
            cells[0] = ""
        previous = row[first]
        table.add_row(*cells)
    return table


def shown(value: object) -> str:
    """A value as people write it: four significant digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def brief(value: float, digits: int) -> str:
    """A number to so many significant digits, without an exponent where it is large."""
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def make_console(stream: IO[str]) -> Console:
    """A console on a stream. What it prints may hold any text of a user's, a library's or an
    error's, so brackets and colons in it mean nothing."""
    # A file or a pipe has no width of its own: tables would be squeezed into 80 columns.
    width = None if stream.isatty() else WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_rows(rows: Sequence[Mapping[str, Any]], empty: str) -> None:
    console = make_console(sys.stdout)
    if not rows:
        console.print(empty)
        return
    console.print(table_of(rows))
