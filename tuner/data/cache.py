"""A folder of arrays on disk that is either complete or not there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tuner.data.errors import DataError

Entry = tuple[dict[str, np.ndarray], dict[str, Any]]


def key_of(*parts: str) -> str:
    """A folder name for everything that the arrays depend on."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


def kept(folder: Path, make: Callable[[], Entry]) -> Entry:
    """The arrays and notes in `folder`, made and written there first if need be.

    Two processes at once make them once. Raises DataError where the folder cannot be written.
    """
    from filelock import FileLock

    entry = load(folder)
    if entry is not None:
        return entry
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f".{folder.name}.lock")
        lock.acquire()
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        entry = load(folder)
        if entry is None:
            made = make()
            try:
                _write(folder, made)
            except OSError as error:
                raise _unwritable(folder, error) from None
            entry = load(folder) or made
        return entry
    finally:
        lock.release()


def load(folder: Path) -> Entry | None:
    """What is kept there, or None if it is not there or damaged.

    Arrays are mapped from disk copy-on-write: writing to one changes memory, not the file.
    """
    try:
        notes = json.loads((folder / "notes.json").read_text())
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
            for name in notes["arrays"]
        }
        if any(list(arrays[name].shape) != shape for name, shape in notes["arrays"].items()):
            return None
        return arrays, notes["notes"]
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def _write(folder: Path, entry: Entry) -> None:
    arrays, notes = entry
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for name, array in arrays.items():
            np.save(part / f"{name}.npy", array, allow_pickle=False)
        (part / "notes.json").write_text(json.dumps({"arrays": shapes, "notes": notes}))
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"the cache {folder.parent} cannot be written ({error.strerror or error}); free space "
        "there, or set TUNER_HOME to a folder that may be written"
    )
