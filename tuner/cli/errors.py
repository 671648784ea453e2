"""Turns errors that a user can mend into one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

import typer

from tuner.addresses import without_credentials

PROBLEM, USAGE, NO_WINNER, REFUSED, INTERRUPTED = 1, 2, 3, 4, 130


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """2: something in the request or the data is wrong; 3: no trial succeeded; 4: a promotion was
    refused; 130: stopped.

    Errors that no user caused pass with their traceback.
    """
    try:
        yield
    except typer.Exit:  # a RuntimeError to Python
        raise
    except KeyboardInterrupt:
        typer.secho("stopped", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (ValueError, LookupError, OSError, RuntimeError) as error:
        code = _code(error)
        if code is None:
            raise
        said = without_credentials(_text(error))
        typer.secho(
            said if code == INTERRUPTED else f"error: {said}",
            err=True,
            fg="red" if code == USAGE else None,
        )
        raise typer.Exit(code) from None


def _code(error: Exception) -> int | None:
    name = type(error).__name__
    if name == "Interrupted":
        return INTERRUPTED
    if name == "NoWinner":
        return NO_WINNER
    if name == "PromotionRefused":
        return REFUSED
    ours = type(error) in (RuntimeError, KeyError, IndexError) or not str(error)
    return None if ours else USAGE


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        what = f"{error.strerror}: {error.filename}"
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            cure = "check the rights there, or name another folder (TUNER_HOME holds all state)"
            return f"{what}; {cure}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"{what}; make room there (see: df), then run the same command again"
    return str(error)
