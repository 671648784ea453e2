"""What still has to be written, kept in memory and, where a store is away, in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

SPOOL_FORMAT = 1

Point = tuple[str, float, int, int]


@dataclass
class NewRun:
    """A run that has to be found or made: its study, and its trial number (None for the parent).

    With `reopen` a run that has ended counts as running again.
    """

    study: str
    number: int | None
    parent: str | None
    run_id: str | None
    start_ms: int
    tags: dict[str, str]
    reopen: bool = True


@dataclass
class Outbox:
    """What one run still has to get. `metrics` are (name, value, time in ms, step), `datasets` the
    fields of MLflow's `Dataset`."""

    new: NewRun | None = None
    metrics: list[Point] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    folders: list[tuple[str, str | None]] = field(default_factory=list)
    end: tuple[str, int] | None = None
    datasets: list[dict[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        single = (self.new is not None) + (self.end is not None)
        values = len(self.metrics) + len(self.params) + len(self.tags)
        return single + values + len(self.folders) + len(self.datasets)


def joined(earlier: Outbox | None, later: Outbox) -> Outbox:
    """One box for what was kept for the same run under two names."""
    if earlier is None:
        return later
    return Outbox(
        later.new or earlier.new,
        earlier.metrics + later.metrics,
        {**earlier.params, **later.params},
        {**earlier.tags, **later.tags},
        earlier.folders + later.folders,
        later.end or earlier.end,
        earlier.datasets + later.datasets,
    )


def write_spool(path: Path, boxes: dict[str, Outbox]) -> None:
    """Replace the spool by these boxes, or remove it where nothing waits."""
    waiting = {run: asdict(box) for run, box in boxes.items() if len(box)}
    if not waiting:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_text(json.dumps({"format": SPOOL_FORMAT, "runs": waiting}))
    draft.replace(path)


def read_spool(path: Path) -> dict[str, Outbox]:
    """The boxes of an earlier process. Raises ValueError where the file is not a spool."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
        if content["format"] != SPOOL_FORMAT:
            raise ValueError(f"its format is {content['format']}, but must be {SPOOL_FORMAT}")
        return {run: _box(raw) for run, raw in content["runs"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is no spool of tracking: {error}") from error


def _box(raw: dict[str, Any]) -> Outbox:
    known = {f.name for f in fields(Outbox)}
    values = {name: value for name, value in raw.items() if name in known}
    values["new"] = NewRun(**values["new"]) if values.get("new") else None
    values["metrics"] = _tuples(values["metrics"])
    values["folders"] = _tuples(values["folders"])
    values["end"] = tuple(values["end"]) if values.get("end") else None
    return Outbox(**values)


def _tuples(rows: Iterable[Iterable[Any]]) -> list[Any]:
    return [tuple(row) for row in rows]
