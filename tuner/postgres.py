"""A bound on how long a PostgreSQL server is waited for.

libpq waits for ever for a server that takes the connection, or a query, and then says nothing: its
own time limits see a network that is cut, and those of the server do not pass in a server that
stands still.
"""

from __future__ import annotations

import contextlib
import selectors
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from tuner.study.causes import causes

CONNECT_SECONDS = 20.0
ANSWER_SECONDS = 150.0
"""Longer than any lock is waited for on the server."""

_SILENT = "has not answered for"
_LIMIT: ContextVar[float | None] = ContextVar("limit", default=None)


def bound_waits() -> None:
    """From now on no call of psycopg2 in this process, whoever makes it, waits longer for a word
    of its server than `CONNECT_SECONDS` for a connection, or `ANSWER_SECONDS` for a query: it
    raises OperationalError, and its connection is closed. Does nothing where psycopg2 is missing.
    """
    with contextlib.suppress(ImportError):
        from psycopg2 import extensions

        extensions.set_wait_callback(_wait)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Calls of this thread wait no longer than this."""
    token = _LIMIT.set(seconds)
    try:
        yield
    finally:
        _LIMIT.reset(token)


def silent(error: BaseException | None) -> bool:
    """Whether a server was waited for in vain."""
    return any(_SILENT in str(each) for each in causes(error))


def _wait(connection: Any) -> None:
    from psycopg2 import OperationalError, extensions

    begun = connection.status == extensions.STATUS_SETUP
    limit = min(CONNECT_SECONDS if begun else ANSWER_SECONDS, _LIMIT.get() or ANSWER_SECONDS)
    end = time.monotonic() + limit
    while (state := connection.poll()) != extensions.POLL_OK:
        wanted = selectors.EVENT_READ if state == extensions.POLL_READ else selectors.EVENT_WRITE
        # The descriptor may be another one after each call while a connection is made.
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), wanted)
            if not selector.select(max(0.0, end - time.monotonic())):
                raise OperationalError(f"the server {_SILENT} {limit:g} s")
        if not begun:
            # A long answer comes bit by bit.
            end = time.monotonic() + limit
