"""Stopping cleanly, however one is told to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

STOP_SECONDS = 15.0


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Makes SIGTERM the same clean stop as Ctrl-C, where signals may be handled at all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def answering_interrupts(answer: Callable[[], None]) -> Iterator[None]:
    """Call `answer` at the first Ctrl-C or SIGTERM, from a thread of its own: whatever has to be
    ended before the program goes on may take seconds, and no handler of Python's runs while a
    library works. The handlers are left as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def listen() -> None:
        while number := reader.recv(1):
            if number[0] in (signal.SIGINT, signal.SIGTERM):
                answer()
                return

    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writer.close()
        listener.join()
        reader.close()


def _stop(*_: object) -> None:
    # What a shell starts in the background ignores Ctrl-C.
    if signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, signal.SIG_DFL, None):
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and whatever it started; it was started in a session of its own."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            if sign == signal.SIGTERM and _group_alive(process.pid):
                continue
            return


def _group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
