"""Ray's files and processes on this machine: where they lie, and that none outlives its driver.

Ray's own processes notice in different ways, and some after minutes, that the driver which started
them was killed. The name of a session, which is in their command lines, ends with its driver's
process. As a program, this is the watchdog of one driver.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

# What Ray appends to its folder for the longest of its sockets, and what the system allows.
_SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
_LONGEST_SOCKET = 107
_VARIABLE = "RAY_TMPDIR"
_PLACES = ("/tmp", "/var/tmp", "/dev/shm")
# Something may be on its way into being while the driver dies.
_ROUNDS, _PAUSE = 3, 1.0


def temporary_folder() -> Path:
    """A folder for Ray's logs and sockets that only this user may look into: below `$RAY_TMPDIR`,
    `$TMPDIR` or /tmp, the first where the paths of sockets are not too long for the system.

    Raises ValueError where there is none.
    """
    user = f"tuner-{os.getuid()}"
    places = [os.environ.get(name) for name in (_VARIABLE, "TMPDIR")]
    why = ""
    for place in (*places, *_PLACES):
        if not place or not os.path.isabs(place):
            continue
        folder = Path(place) / user
        # Ray opens its own folder to everybody; this one around it stays shut.
        inner = folder / "r"
        if len(os.fsencode(inner)) + len(_SOCKET) > _LONGEST_SOCKET:
            why = why or f"the path {place} is too long for sockets"
            continue
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                raise PermissionError(f"{folder} belongs to another user")
            folder.chmod(0o700)
            if not os.access(folder, os.W_OK):
                raise PermissionError(f"{folder} cannot be written to")
        except OSError as error:
            why = why or str(error)
            continue
        return inner
    raise ValueError(
        f"Ray has no folder for its sockets ({why}); set {_VARIABLE} to an absolute path of at "
        f"most {_LONGEST_SOCKET - len(_SOCKET) - len(user) - 3} characters that can be written to"
    )


def end_leftovers(folder: Path) -> list[int]:
    """End what drivers that are dead left running below Ray's folder; returns the processes."""
    ended = []
    for process, driver in _processes(folder):
        with contextlib.suppress(psutil.Error):
            born = _born(driver)
            # A number may have been given to another process since.
            if born is None or born > process.create_time() + 1:
                process.kill()
                ended.append(process.pid)
    return ended


def watch_over(folder: Path) -> None:
    """Start a process that ends what this driver leaves running, should it be killed."""
    with contextlib.suppress(OSError):
        subprocess.Popen(
            # The folder of this file is none to import from.
            [sys.executable, "-P", __file__, str(folder), str(os.getpid())],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd="/",
        )  # fmt: skip


def _processes(folder: Path) -> Iterator[tuple[psutil.Process, int]]:
    """Processes of sessions below a folder, each with its driver's number."""
    session = re.compile(re.escape(str(folder)) + r"/session_[\d_-]+_(\d+)(?![\d_])")
    own = _name_space(os.getpid())
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found = session.search(" ".join(process.cmdline()))
            # In a container of its own, a driver has a number that means nothing here.
            if found and _name_space(process.pid) == own:
                yield process, int(found[1])


def _born(pid: int) -> float | None:
    """When a process was started; None where it is gone."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None


def _name_space(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}/ns/pid").stat().st_ino
    except OSError:
        return 0


def main(folder: Path, driver: int) -> None:
    """Wait until a driver is dead, then end what it left."""
    born = _born(driver)
    while born is not None and _born(driver) == born:
        time.sleep(_PAUSE)
    for _ in range(_ROUNDS):
        end_leftovers(folder)
        time.sleep(_PAUSE)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
