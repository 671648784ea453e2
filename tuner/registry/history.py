"""Who was champion when: events as tags of the registered model, because MLflow keeps none.

The alias is what counts. An event is written before its alias moves, so that a process that dies
in between leaves an event which says what did not happen; it is told by that, never shown, and
overwritten by the next one.
"""

from __future__ import annotations

import getpass
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tuner.addresses import file_name, sqlite_path
from tuner.registry.register import model_name
from tuner.registry.versions import CHAMPION, by_alias

Kind = Literal["promoted", "forced", "rolled back", "retired"]
HISTORY_TAG = "tuner.history."
LOCK_SECONDS = 60.0
_REASON = 2000


@dataclass(frozen=True)
class Event:
    """One change of champion: from version `before` to version `after`, 0 for none.

    `at` is UTC in ISO 8601, `by` the user and machine, `study` where the new champion comes from.
    """

    kind: Kind
    after: int
    before: int
    study: str = ""
    reason: str = ""
    at: str = ""
    by: str = ""


@contextmanager
def changing(uri: str, category: str, home: Path) -> Iterator[None]:
    """Hold the lock of a category's aliases: one change at a time.

    The lock lies beside an SQLite registry, and in `home` for any other: MLflow has no way to
    compare and set an alias, so changes from two machines to one server are serialised only where
    they share `home`. What is read before the lock must be read again inside.
    """
    from filelock import FileLock, Timeout

    path = sqlite_path(uri)
    beside = path.parent if path is not None else home
    beside.mkdir(parents=True, exist_ok=True)
    lock = beside / f"{file_name(model_name(category))}.promotion.lock"
    try:
        with FileLock(lock, timeout=LOCK_SECONDS):
            yield
    except Timeout:
        raise TimeoutError(
            f"another promotion of {category} holds {lock} for more than {LOCK_SECONDS:g} s; look "
            "what it is doing, and try again"
        ) from None


def move_champion(client: Any, category: str, event: Event) -> Event:
    """Write an event and point the alias; call inside `changing`. Returns the event as written.

    The alias is the last write, and moves in one step: before it nothing has changed.
    """
    name = model_name(category)
    written = replace(event, at=_now(), by=_who(), reason=event.reason[:_REASON])
    place = len(events(client, category)) + 1
    client.set_registered_model_tag(
        name, f"{HISTORY_TAG}{place:06d}", json.dumps(asdict(written), ensure_ascii=False)
    )
    if event.after:
        client.set_registered_model_alias(name, CHAMPION, str(event.after))
    else:
        client.delete_registered_model_alias(name, CHAMPION)
    return written


def events(client: Any, category: str) -> list[Event]:
    """What happened, oldest first. Raises LookupError for a category without a model."""
    champion = by_alias(client, category, CHAMPION)
    tags = client.get_registered_model(model_name(category)).tags
    found = [Event(**json.loads(tags[key])) for key in sorted(tags) if key.startswith(HISTORY_TAG)]
    present = champion.number if champion else 0
    if found and found[-1].after != present and found[-1].before == present:
        found.pop()
    return found


def previous(found: list[Event]) -> int:
    """The champion before the present one, 0 for none: a rollback is not rolled back itself."""
    line: list[int] = []
    for event in found:
        if event.kind == "retired":
            line = [number for number in line if number != event.before]
        elif event.kind == "rolled back" and event.after in line:
            line = line[: line.index(event.after) + 1]
        else:
            line.append(event.after)
    present = found[-1].after if found else 0
    return next((number for number in reversed(line) if number != present), 0)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
