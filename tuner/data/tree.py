"""A tree of files, wherever it lies: what the layouts look at."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tuner.data.errors import DataError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Endings of image files that are read, in lower case; any case is accepted."""

_DEPTH = 6


class Tree(Protocol):
    """Files under one location, by their path relative to it (`/` between the parts)."""

    @property
    def location(self) -> str:
        """The absolute path of a folder, or the URL: it means the same from anywhere."""
        ...

    @property
    def name(self) -> str:
        """The last part of the location: the name of a category that lies directly in it."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """Sorted; hidden files are left out."""
        ...

    @property
    def folders(self) -> frozenset[str]:
        """Every folder below the location, empty ones too where the store knows such a thing."""
        ...

    def read(self, path: str) -> bytes:
        """The content of a file. Raises OSError where it cannot be read."""
        ...


@dataclass(frozen=True)
class FolderTree:
    """A folder on this machine; see `Tree`."""

    location: str
    name: str
    files: tuple[str, ...] = field(repr=False)
    folders: frozenset[str] = field(repr=False)
    root: Path = field(repr=False)

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()


def open_folder(location: str) -> FolderTree:
    """Walk a folder. Raises DataError where it is missing, a file, or not to be read."""
    root = Path(location).expanduser()
    if not root.exists():
        raise DataError(
            f"folder {location} does not exist; check the spelling, or use 'demo' for the built-in "
            "demo data"
        )
    if not root.is_dir():
        raise DataError(f"{location} is a file; give the folder that holds the images")
    if not os.access(root, os.R_OK | os.X_OK):
        raise DataError(f"folder {location} may not be read; ask for read permission on it")
    root = Path(os.path.abspath(root))
    files, folders = _walk(root)
    return FolderTree(str(root), root.name, files, folders, root)


def _walk(root: Path) -> tuple[tuple[str, ...], frozenset[str]]:
    files: list[str] = []
    folders: set[str] = set()
    # Links are followed because data sets are often linked together; a loop is cut by its target.
    seen: set[str] = set()
    for folder, below, names in os.walk(root, followlinks=True):
        target = os.path.realpath(folder)
        relative = Path(folder).relative_to(root)
        if target in seen or len(relative.parts) >= _DEPTH:
            below.clear()
        if target in seen:
            continue
        seen.add(target)
        below[:] = sorted(name for name in below if visible(name))
        if relative.parts:
            folders.add(relative.as_posix())
        files += [(relative / name).as_posix() for name in names if visible(name)]
    return tuple(sorted(files)), frozenset(folders)


def visible(name: str) -> bool:
    """Whether a file or folder is meant for people (not hidden, not left by an unpacker)."""
    return not name.startswith(".") and name != "__MACOSX"


def is_image(path: str) -> bool:
    return path.lower().endswith(ENDINGS)


def images_below(files: Iterable[str], folder: str) -> list[str]:
    """Image files below a folder, at any depth."""
    return [path for path in files if path.startswith(f"{folder}/") and is_image(path)]


def others_below(files: Iterable[str], folder: str) -> list[str]:
    """Files below a folder that are no image."""
    return [path for path in files if path.startswith(f"{folder}/") and not is_image(path)]
