"""The right to drive a study: held by one driver at a time, on whatever machines drivers run.

It is a row beside the ledger. Its holder says again and again that it lives, by the database's own
clock; one that fell silent, or whose process is gone from this machine, is taken over from. Every
transaction that writes to the ledger looks at the row first, so that a driver that lost its lease
(it was cut off, or stood still) writes nothing more.
"""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import sqlalchemy as sql
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from tuner import postgres
from tuner.study.database import engine_options, open_with

PERIOD = 15.0
HURRY = 2.0
STALE = 60.0
"""Seconds after which a driver that says nothing counts as dead."""

_LEASES = sql.Table(
    "tuner_leases",
    sql.MetaData(),
    sql.Column("study", sql.String(512), primary_key=True),
    sql.Column("holder", sql.String(64)),
    sql.Column("host", sql.String(256)),
    sql.Column("machine", sql.String(256)),
    sql.Column("pid", sql.Integer),
    sql.Column("born", sql.Float(53)),
    sql.Column("beat", sql.Float(53)),
)
_WROTE = "tuner_wrote"


class LeaseTaken(RuntimeError):
    """Another driver, alive, holds the study."""


class LeaseLost(RuntimeError):
    """Another driver has taken the study over; this one may write no more."""


@dataclass(frozen=True)
class Holder:
    """Who drives a study, as the database says; `silent` is in seconds of its clock."""

    holder: str
    host: str
    machine: str
    pid: int
    born: float
    beat: float
    silent: float

    @property
    def gone(self) -> bool:
        """Whether it may be taken over from at once."""
        return self.silent > STALE or (self.machine == machine() and not self._runs())

    @property
    def present(self) -> bool:
        """Whether its process is on this machine and can be seen to live."""
        return not self.gone and self.machine == machine()

    def _runs(self) -> bool:
        try:
            return abs(psutil.Process(self.pid).create_time() - self.born) < 1.0
        except psutil.NoSuchProcess:
            return False


class Lease:
    """The lease of one study. As a context it is held and kept alive, and given back at the end.

    Raises LeaseTaken where another driver has it and lives, LedgerUnreachable.
    """

    def __init__(self, url: str, study: str, pause: float = 1.0) -> None:
        self.study, self.lost = study, False
        self._pause = pause
        self._id = uuid.uuid4().hex
        self._engine = open_with(url, _open)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def holder(self) -> Holder | None:
        """Who has it; None for nobody."""
        with self._engine.connect() as connection:
            asked = sql.select(_LEASES, _now(self._engine).label("now")).where(self._here)
            row = connection.execute(asked).mappings().first()
        if row is None or row["holder"] is None:
            return None
        known = {name: row[name] for name in ("holder", "host", "machine", "pid", "born", "beat")}
        return Holder(**known, silent=float(row["now"]) - row["beat"])

    def fence(self, engine: Engine) -> None:
        """From now on whatever writes through this engine does so as holder of the lease, or
        fails with LeaseLost and changes nothing."""
        sql.event.listen(engine, "before_cursor_execute", _mark)
        sql.event.listen(engine, "rollback", lambda connection: connection.info.pop(_WROTE, None))
        sql.event.listen(engine, "commit", self._check)

    def __enter__(self) -> Lease:
        self._take()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(None if error is None else HURRY)
        # A database that is away now is the driver's own trouble; the lease runs out by itself.
        with contextlib.suppress(Exception):
            self._write(self._mine, hurry=error is not None, holder=None)
        self._engine.dispose()

    @property
    def _here(self) -> sql.ColumnElement[bool]:
        return _LEASES.c.study == self.study

    @property
    def _mine(self) -> sql.ColumnElement[bool]:
        return self._here & (_LEASES.c.holder == self._id)

    def _take(self) -> None:
        first = found = self.holder()
        while not self._try(found):
            first = first or found
            # On another machine it may have died just now: one that lives speaks again.
            if found and first and (found.present or found.beat != first.beat):
                raise LeaseTaken(
                    f"the study {self.study} is being run by process {found.pid} on {found.host}"
                )
            time.sleep(self._pause)
            found = self.holder()

    def _try(self, found: Holder | None) -> bool:
        """Take it from nobody, or from one that is gone; False where somebody was quicker."""
        if found is not None and not found.gone:
            return False
        own = {
            "holder": self._id,
            "host": platform.node(),
            "machine": machine(),
            "pid": os.getpid(),
            "born": psutil.Process().create_time(),
        }
        if found is not None:
            unchanged = (_LEASES.c.holder == found.holder) & (_LEASES.c.beat == found.beat)
            return self._write(self._here & unchanged, **own)
        if self._write(self._here & _LEASES.c.holder.is_(None), **own):
            return True
        try:
            with self._engine.begin() as connection:
                new = {"study": self.study, "beat": _now(self._engine), **own}
                connection.execute(_LEASES.insert().values(new))
        except IntegrityError:
            return False
        return True

    def _keep(self) -> None:
        while not self._ended.wait(PERIOD):
            # A ledger that is away is the driver's own trouble, and said by it.
            with contextlib.suppress(Exception):
                if not self._write(self._mine, holder=self._id):
                    self.lost = True
                    return

    def _write(self, where: sql.ColumnElement[bool], *, hurry: bool = False, **values: Any) -> bool:
        hurried = postgres.within(HURRY) if hurry else contextlib.nullcontext()
        with hurried, self._engine.begin() as connection:
            if hurry and self._engine.dialect.name == "sqlite":
                # Whoever locks it has been waited for already.
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(1000 * HURRY)}")
            change = _LEASES.update().where(where).values(beat=_now(self._engine), **values)
            return connection.execute(change).rowcount == 1

    def _check(self, connection: Connection) -> None:
        if not connection.info.pop(_WROTE, False):
            return
        # Locked until the commit: whoever takes over waits for it.
        asked = sql.select(_LEASES.c.holder).where(self._here).with_for_update(read=True)
        if connection.execute(asked).scalar() != self._id:
            self.lost = True
            raise LeaseLost(f"the study {self.study} is being run by another driver now")


def driver_of(url: str, study: str) -> str | None:
    """The machine that drives a study now, None where none does."""
    found = Lease(url, study).holder()
    return None if found is None or found.gone else found.host


def machine() -> str:
    """What processes that can see each other have in common: a kernel since its start, and a name
    space of processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return platform.node()


def _open(url: str) -> Engine:
    engine = sql.create_engine(url, **engine_options(url))
    _LEASES.metadata.create_all(engine)
    return engine


def _mark(connection: Connection, *execution: Any) -> None:
    context = execution[3]
    if context is not None and (context.isinsert or context.isupdate or context.isdelete):
        connection.info[_WROTE] = True


def _now(engine: Engine) -> sql.ColumnElement[float]:
    """Seconds by the one clock that all drivers share."""
    clocks: dict[str, Callable[[], sql.ColumnElement[float]]] = {
        "sqlite": lambda: sql.literal_column("(julianday('now') - 2440587.5) * 86400.0", sql.Float),
        "postgresql": lambda: sql.cast(
            sql.extract("epoch", sql.func.clock_timestamp()), sql.Float(53)
        ),
    }
    return clocks.get(engine.dialect.name, lambda: sql.literal(time.time()))()
