"""A web server of this machine as a child process: started, waited for, ended as a whole."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tuner.stopping import end_group

# The server is on this machine: no proxy of the environment can reach it.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def started(
    command: Sequence[str], more: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with `more` in its environment, which says what it says into `log`. It and all that
    it starts end with the block."""
    with log.open("wb") as words:
        process = subprocess.Popen(
            command,
            stdout=words,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **more},
        )
    try:
        yield process
    finally:
        end_group(process)


def awaited(
    process: subprocess.Popen[bytes], url: str, seconds: float, *, any_status: bool = False
) -> Literal["answers", "ended", "silent"]:
    """What became of a server within so many seconds; with `any_status` an error is an answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return "ended"
        try:
            with DIRECT.open(url, timeout=5):
                return "answers"
        except OSError as error:
            if any_status and isinstance(error, urllib.error.HTTPError):
                return "answers"
        time.sleep(0.2)
    return "silent"


def last_words(log: Path) -> str:
    """The last lines that a server said."""
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return " / ".join(line.strip() for line in lines[-3:]) or "it said nothing"
