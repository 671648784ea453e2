"""One JSON object on standard output and nothing else there."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TextIO

from tuner.addresses import without_credentials


class _Sturdy(io.RawIOBase):
    """A stream of this process that takes all that is written: a full disk behind a log must not
    end a study. What could not be written is told at the end."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.error = descriptor, ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def isatty(self) -> bool:
        return os.isatty(self.descriptor)

    def write(self, content: Any) -> int:
        try:
            return os.write(self.descriptor, content)
        except BrokenPipeError:
            # Whoever read it has seen enough.
            raise
        except OSError as error:
            self.error = error.strerror or str(error)
            return memoryview(content).nbytes


def ready_output() -> Callable[[], bool]:
    """Make the streams of this process take any text in any encoding, and keep passwords out of
    tracebacks; returns what is to be asked at the end: whether standard output holds all.
    """
    sys.excepthook = _told
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Closed by whoever started this: the next file that is opened would stand in its place.
            os.open(os.devnull, os.O_RDWR)
    out, err = _Sturdy(1), _Sturdy(2)
    sys.stdout = _text(out, sys.stdout, lines=out.isatty())
    sys.stderr = _text(err, sys.stderr, lines=True)

    def whole() -> bool:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
        if out.error:
            text = f"error: standard output cannot be written ({out.error})"
            sys.stderr.write(f"{text}; the command was carried out, but what it says is lost\n")
        return not out.error

    return whole


def _text(raw: _Sturdy, before: TextIO | None, *, lines: bool) -> io.TextIOWrapper:
    encoding, buffer = before.encoding if before else "utf-8", io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, encoding, errors="backslashreplace", line_buffering=lines)


def _told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write(without_credentials(text))


@contextlib.contextmanager
def only_json(wanted: bool) -> Iterator[None]:
    """While this lasts, whatever any library prints goes to standard error."""
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def print_json(content: Any) -> None:
    from tuner.study.jsonfile import clean

    sys.stdout.write(json.dumps(clean(content), indent=2) + "\n")
    sys.stdout.flush()
