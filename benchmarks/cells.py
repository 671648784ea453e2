"""A grid of independent cells, run by several processes and kept in one JSON file.

What is finished is on disk: a run that was cut off goes on where it was, and a run under other
settings refuses to mix its cells with those of the first.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from tuner.study.jsonfile import clean, write_json

Record = dict[str, Any]


def load(path: Path, settings: Mapping[str, Any]) -> dict[str, Record]:
    """The cells that `path` holds; none where there is no file. Raises SystemExit for a file that
    was made under other settings."""
    if not path.is_file():
        return {}
    content = json.loads(path.read_text())
    there, wanted = content.get("settings"), json.loads(json.dumps(clean(settings)))
    if there != wanted:
        differ = sorted(k for k in {*there, *wanted} if there.get(k) != wanted.get(k))
        raise SystemExit(
            f"{path} was made under other settings ({', '.join(differ)}): give --out another file,"
            " or delete it"
        )
    cells: dict[str, Record] = content["cells"]
    return cells


def run(
    path: Path,
    settings: Mapping[str, Any],
    wanted: Mapping[str, Any],
    work: Callable[[Any], Record],
    processes: int,
) -> dict[str, Record]:
    """`work(wanted[name])` for every name that `path` does not hold yet, each written at once.

    A cell that raises is recorded with its `error` and not tried again. `work` and what is wanted
    are sent to other processes, one thread each; with one process it runs in this one.
    """
    cells = load(path, settings)
    missing = {name: cell for name, cell in wanted.items() if name not in cells}
    if len(missing) < len(wanted):
        print(f"{len(wanted) - len(missing)} of {len(wanted)} cells were there", file=sys.stderr)
    started = time.monotonic()

    def keep(name: str, record: Record) -> None:
        cells[name] = record
        write_json(path, {"settings": settings, "cells": cells})
        done = sum(name in cells for name in wanted)
        minutes = (time.monotonic() - started) / 60
        said = record.get("error", f"{record['seconds']:.1f} s")
        print(f"{minutes:6.1f} min  {done}/{len(wanted)}  {name}: {said}", file=sys.stderr)

    if processes == 1:
        for name, cell in missing.items():
            keep(name, _recorded(work, cell))
        return {name: cells[name] for name in wanted}
    # Read by PyTorch in the new processes, whose pools of threads would fight for the cores.
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting: dict[Future[Record], str] = {
            pool.submit(_recorded, work, cell): name for name, cell in missing.items()
        }
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                keep(waiting.pop(future), future.result())
    return {name: cells[name] for name in wanted}


def finish(
    path: Path, settings: Mapping[str, Any], cells: Mapping[str, Record], summary: Record
) -> None:
    """Write the summary beside the cells, those of the file that are not in this summary too."""
    everything = {**load(path, settings), **cells}
    write_json(path, {"settings": settings, "summary": summary, "cells": everything})


def _recorded(work: Callable[[Any], Record], cell: Any) -> Record:
    started = time.monotonic()
    try:
        record = work(cell)
    except (ValueError, RuntimeError) as error:
        record = {"error": f"{type(error).__name__}: {error}"}
    return {**record, "seconds": round(time.monotonic() - started, 2)}
