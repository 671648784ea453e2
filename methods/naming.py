"""What to say of a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def meant(name: str, known: Iterable[str]) -> str:
    """`; did you mean NAME?` where one of the known names is close, or begins so; else empty."""
    names = sorted(known)
    by_lower = {each.lower(): each for each in names}
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    begun = [each for each in by_lower if name and each.startswith(name.lower())]
    found = (begun or close)[:1]
    return f"; did you mean {by_lower[found[0]]}?" if found else ""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """That `name` is no `what`, with all that are known and the one that may be meant."""
    names = sorted(known)
    return f"{what} is {name!r}, but must be one of: {', '.join(names)}{meant(name, names)}"
