"""Opening the database of a ledger: by any usual address, and safely beside other processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from filelock import FileLock

from tuner.addresses import sqlite_path
from tuner.study.causes import causes

T = TypeVar("T")

_FIRST_USE = 0x74756E6572
"""The number of PostgreSQL's advisory lock that is held while tables are made."""


class LedgerUnreachable(ValueError):
    """The database of the ledger cannot be opened; the message holds no password."""


def open_with(url: str, make: Callable[[str], T]) -> T:
    """What `make` makes of a database's address, while no other process makes tables there.

    Raises LedgerUnreachable.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        parts = make_url(url)
    except ArgumentError:
        raise LedgerUnreachable(
            "the ledger's address is no database URL; it must be like "
            "postgresql://user:password@host:5432/database"
        ) from None
    if parts.drivername == "postgresql":
        # The driver that is installed beside tuner; the library's own choice is another one.
        parts = parts.set(drivername="postgresql+psycopg2")
    try:
        plain = parts.render_as_string(hide_password=False)
        with _first_use(plain):
            return make(plain)
    except ImportError as error:
        raise LedgerUnreachable(
            f"the ledger at {parts} needs the Python package {error.name}; for PostgreSQL: "
            "pip install 'tuner[cluster]'"
        ) from None
    except SQLAlchemyError as error:
        raise LedgerUnreachable(
            f"the ledger at {parts} cannot be opened ({_reason(error)}); check that the database "
            "runs, and its user, password and name"
        ) from None


def engine_options(url: str) -> dict[str, Any]:
    """How connections are made: patient where one writer waits for another, and renewed."""
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 120}}
    # A connection that broke while it was not used is replaced before it is used again. A server
    # ends what a driver that stood still has left half-done, or its locks would keep others out.
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("postgresql"):
        options["connect_args"] = {"options": "-c idle_in_transaction_session_timeout=45000"}
    return options


def no_room(error: BaseException | None) -> str | None:
    """Where an error says, of itself or of its causes, that a disk is full: the words."""
    for found in causes(error):
        for line in reversed(str(found).splitlines()):
            if any(word in line for word in ("disk is full", "No space left", "quota exceeded")):
                return line.strip()[:200]
    return None


def _reason(error: Exception) -> str:
    lines = str(getattr(error, "orig", None) or type(error).__name__).splitlines()
    return lines[-1].strip()[:200] if lines else type(error).__name__


@contextlib.contextmanager
def _first_use(url: str) -> Iterator[None]:
    """Tables are made by one process at a time: two at once break each other."""
    if url.startswith("postgresql"):
        from sqlalchemy import create_engine, text

        engine = create_engine(url)
        try:
            with engine.connect() as connection:
                # Given back when the connection ends, however it ends.
                connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _FIRST_USE})
                yield
        finally:
            engine.dispose()
        return
    path = sqlite_path(url)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        yield
