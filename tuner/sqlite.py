"""What is wrong with an SQLite file, and who is in its way."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil

from tuner.study.causes import causes


def damage(path: Path) -> str | None:
    """What SQLite says of a file that is no whole database; None for a whole one, an empty one and
    none.

    Only SQLite may open it: a process that closes the file by itself loses all locks on it.
    """
    if not path.is_file() or not path.stat().st_size:
        return None
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=0)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error) if damaged(error) else None
    return None


def damaged(error: BaseException | None) -> bool:
    """Whether SQLite says that a file is no whole database."""
    words = ("file is not a database", "disk image is malformed")
    return any(word in str(each) for each in causes(error) for word in words)


def locked(error: BaseException | None) -> bool:
    """Whether another process kept a database for longer than was waited for."""
    return any("database is locked" in str(each) for each in causes(error))


def holders(path: Path) -> str:
    """Who holds a lock on a database: processes with their names, as far as the system tells."""
    found = sorted(set(_lock_owners(path)) - {os.getpid()})
    return " and ".join(f"process {pid}{_name(pid)}" for pid in found) or "another process"


def _lock_owners(path: Path) -> Iterator[int]:
    inodes = set()
    for suffix in ("", "-shm", "-journal"):
        with contextlib.suppress(OSError):
            inodes.add(str(path.with_name(path.name + suffix).stat().st_ino))
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            # 1: POSIX  ADVISORY  WRITE 4711 08:01:12345 1073741824 1073742335
            words = line.split()
            if len(words) >= 6 and words[-3].rpartition(":")[2] in inodes and int(words[-4]) > 0:
                yield int(words[-4])


def _name(pid: int) -> str:
    with contextlib.suppress(psutil.Error):
        return f" ({psutil.Process(pid).name()})"
    return ""
