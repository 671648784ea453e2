"""What is wrong with an SQLite file, and who is in its way."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from tuner.study.causes import causes

_MAGIC = b"SQLite format 3\0"
_HEADER = 100


def damage(path: Path) -> str | None:
    """What a file is instead of a whole database; None for a whole one, an empty one and none.

    Looks at the file's first bytes and its length only.
    """
    try:
        with path.open("rb") as file:
            head, size = file.read(_HEADER), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return None
    if not head:
        return None
    if len(head) < _HEADER or not head.startswith(_MAGIC):
        return "it is no SQLite database"
    page = int.from_bytes(head[16:18], "big")
    pages, change, valid = (int.from_bytes(head[at : at + 4], "big") for at in (28, 24, 92))
    # Only if both counters agree does the header know how long the file is.
    whole = pages * (65536 if page == 1 else page)
    if change == valid and size < whole:
        return f"it is cut: {size} of {whole} bytes are there"
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
