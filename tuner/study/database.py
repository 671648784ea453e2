"""Opening the database of a ledger: by any usual address, and safely beside other processes."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from tuner import postgres, sqlite
from tuner.addresses import STORAGE_VARIABLE, sqlite_path, with_driver, without_credentials
from tuner.study.causes import causes

T = TypeVar("T")

PATIENCE = 120
"""Seconds for which one process waits for another one that holds an SQLite ledger."""
_FIRST_USE = 0x74756E6572
"""The number of PostgreSQL's advisory lock that is held while tables are made."""


_UNWRITABLE = (
    "disk is full", "No space left", "quota exceeded", "Read-only file system",
    "readonly database", "disk I/O error", "Input/output error",
)  # fmt: skip


class LedgerUnreachable(ValueError):
    """The database of the ledger cannot be opened; the message holds no password."""


def open_with(url: str, make: Callable[[str], T]) -> T:
    """What `make` makes of a database's address, while no other process makes tables there.

    Raises LedgerUnreachable.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parts = make_url(with_driver(url))
        place = without_credentials(url)
    except ArgumentError:
        raise LedgerUnreachable(
            "the ledger's address is no database URL; it must be like "
            "postgresql://user:password@host:5432/database"
        ) from None
    path = sqlite_path(url)
    if path is not None and (wrong := sqlite.damage(path)):
        raise LedgerUnreachable(f"the ledger {path} is damaged: {wrong}; restore it from a backup")
    try:
        plain = parts.render_as_string(hide_password=False)
        with _first_use(plain):
            return make(plain)
    except ImportError as error:
        raise LedgerUnreachable(
            f"the ledger at {place} needs the Python package {error.name}; for PostgreSQL: "
            "pip install 'tuner[cluster]'"
        ) from None
    except Exception as error:
        # Optuna wraps what the database says.
        if not database_error(error):
            raise
        raise LedgerUnreachable(in_the_way(error, url)) from None


def in_the_way(error: BaseException, url: str) -> str:
    """What keeps a ledger from being read or written, and what to do about it."""
    from sqlalchemy.engine import make_url

    place, path = without_credentials(url), sqlite_path(url)
    if path is None:
        address = make_url(url)
        if postgres.silent(error):
            host, port = address.host or "localhost", address.port or 5432
            return (
                f"the ledger at {place} takes connections and says nothing ({_reason(error)}): its "
                f"server stands still; see it by: pg_isready -h {host} -p {port}, and start it "
                "again"
            )
        kind = address.drivername.partition("+")[0]
        login = " (PGUSER and PGPASSWORD do, too)" if kind == "postgresql" else ""
        return (
            f"the ledger at {place} cannot be opened or used ({_reason(error)}); check that "
            "the database runs, and its user, password and name. A study's folder keeps "
            f"addresses without user and password: give the whole one by {STORAGE_VARIABLE}{login}"
        )
    if sqlite.damaged(error):
        return f"the ledger {path} is damaged ({_reason(error)}); restore it from a backup"
    if sqlite.locked(error):
        return (
            f"the ledger {path} has been locked by {sqlite.holders(path)} for more than "
            f"{PATIENCE} s; end that process, or wait for it"
        )
    return (
        f"the ledger {path} cannot be used ({_reason(error)}); check the rights of the file and of "
        f"its folder, and the room there (see: df {path.parent})"
    )


def missing(url: str) -> str | None:
    """Where a ledger is a file that is not there or holds nothing: that, in words. Opening it would
    make a new one."""
    path = sqlite_path(url)
    if path is None or (path.is_file() and path.stat().st_size):
        return None
    state = "is empty" if path.is_file() else "is not there"
    return f"the ledger {path} {state}: restore it from a backup"


def database_error(error: BaseException) -> bool:
    """Whether an error is that of a ledger's database, of itself or of what it was raised from."""
    from sqlalchemy.exc import SQLAlchemyError

    found = list(causes(error))
    # What tuner raises has its own words, and MLflow speaks to a database of its own.
    if type(error).__module__.startswith("tuner"):
        return False
    others = any(type(each).__module__.startswith("mlflow") for each in found)
    return not others and any(isinstance(each, SQLAlchemyError) for each in found)


def engine_options(url: str) -> dict[str, Any]:
    """How connections are made: patient where one writer waits for another, and renewed."""
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": PATIENCE}}
    # A connection that broke while it was not used is replaced before it is used again. A server
    # ends what a driver that stood still has left half-done, or its locks would keep others out.
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("postgresql"):
        postgres.bound_waits()
        options["connect_args"] = {
            "options": "-c idle_in_transaction_session_timeout=45000",
            # A server that is cut off from the network is noticed.
            "tcp_user_timeout": 1000 * PATIENCE,
        }
    return options


def no_room(error: BaseException | None) -> str | None:
    """Where an error says, of itself or of its causes, that a disk is full or takes nothing: the
    words."""
    for found in causes(error):
        for line in reversed(str(found).splitlines()):
            if any(word in line for word in _UNWRITABLE):
                return line.strip()[:200]
    return None


def _reason(error: BaseException) -> str:
    found = next((each for each in causes(error) if hasattr(each, "orig")), None)
    lines = str(error if found is None else found.orig or type(found).__name__).splitlines()
    return lines[-1].strip()[:200] if lines else type(error).__name__


@contextlib.contextmanager
def _first_use(url: str) -> Iterator[None]:
    """Tables are made by one process at a time: two at once break each other."""
    if url.startswith("postgresql"):
        from sqlalchemy import create_engine, text

        engine = create_engine(url, **engine_options(url))
        try:
            with engine.connect() as connection:
                connection.execute(text(f"SET lock_timeout = '{PATIENCE}s'"))
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
    lock = FileLock(f"{path}.lock", timeout=PATIENCE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise LedgerUnreachable(
            f"another process has been opening the ledger {path} for more than {PATIENCE} s; end "
            f"the one that holds {lock.lock_file} ({sqlite.holders(Path(lock.lock_file))})"
        ) from None
    except OSError as error:
        # Where nothing can be written, nobody makes tables either.
        if error.errno not in (errno.EROFS, errno.EACCES, errno.ENOSPC) or not path.is_file():
            raise LedgerUnreachable(in_the_way(error, url)) from None
    try:
        yield
    finally:
        lock.release()
