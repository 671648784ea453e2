"""What lies behind an error."""

from __future__ import annotations

from collections.abc import Iterator


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, then what it was raised from or while, down to the first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
