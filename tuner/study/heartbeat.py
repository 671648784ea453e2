"""Says in the ledger that a study is being driven, and from where, for whoever cannot see its lock.

A lock file keeps two drivers of one machine apart. Drivers of two machines meet in the ledger only.
"""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from tuner.study.ledger import Ledger

PERIOD = 15.0
STALE = 60.0
"""Seconds after which a driver that says nothing counts as dead; clocks may differ by some."""


class Heartbeat:
    """While this lasts, the ledger knows that a study is driven."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._note()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._ledger.note(driver=None)

    def _beat(self) -> None:
        while not self._ended.wait(PERIOD):
            # A ledger that is away is the driver's own trouble, and said by it.
            with contextlib.suppress(Exception):
                self._note()

    def _note(self) -> None:
        self._ledger.note(driver={"host": here(), "pid": os.getpid(), "time": time.time()})


def here() -> str:
    return platform.node()


def driven_elsewhere(notes: Mapping[str, Any]) -> str | None:
    """The other machine that drives a study now, None where there is none."""
    driver = notes.get("driver")
    if not driver or driver["host"] == here() or time.time() - driver["time"] > STALE:
        return None
    return str(driver["host"])


def wait_for_silence(ledger: Ledger, pause: float = 1.0) -> str | None:
    """Wait until a driver on another machine is known to be dead; its name where it lives on."""
    end = time.time() + STALE + PERIOD
    while (other := driven_elsewhere(ledger.notes())) is not None and time.time() < end:
        time.sleep(pause)
    return other
