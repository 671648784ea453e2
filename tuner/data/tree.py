"""A tree of files, wherever it lies: what the layouts look at."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tuner.addresses import demand_utf8
from tuner.data.errors import DataError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Endings of image files that are read, in lower case; any case is accepted."""

_SYSTEM = frozenset(
    (
        "__macosx", "lost+found",
        "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot",
        "$recycle.bin", "recycler", "system volume information", "thumbs.db", "ehthumbs.db",
        "desktop.ini", "network trash folder", "temporary items", "icon\r",
    )
)  # fmt: skip
"""What unpackers, file servers and operating systems leave among files, in lower case. Some of it
holds small copies of the images."""

_MOST_LINKED = 10_000


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

    @property
    def closed(self) -> tuple[str, ...]:
        """Folders that may not be looked into."""
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
    closed: tuple[str, ...] = ()

    def read(self, path: str) -> bytes:
        file = self.root / path
        # To read a pipe would be to wait for ever.
        if file.exists() and not file.is_file() and not file.is_dir():
            raise OSError("not a regular file")
        return file.read_bytes()


def open_folder(location: str) -> FolderTree:
    """Walk a folder. Raises DataError where it is missing, a file, not to be read, or no UTF-8."""
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
    try:
        demand_utf8("folder", str(root))
    except ValueError as error:
        raise DataError(str(error)) from None
    found = _walk(root)
    closed = tuple(sorted(found.closed))
    return FolderTree(
        str(root), root.name, tuple(sorted(found.files)), frozenset(found.folders), root, closed
    )


@dataclass
class _Found:
    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)


def _walk(root: Path) -> _Found:
    """Everything below a folder, at any depth.

    Links are followed because data sets are often linked together, and two links to one folder
    are two folders; only a link to a folder that it lies in is a loop, and is cut.
    """
    found, seen, again = _Found(), set[str](), 0
    start = os.path.realpath(root)
    waiting: list[tuple[str, str, tuple[str, ...]]] = [("", start, (start,))]
    while waiting:
        relative, target, above = waiting.pop()
        again += target in seen
        seen.add(target)
        if again > _MOST_LINKED:
            raise DataError(
                f"the links in {root} lead to the same folders more than {_MOST_LINKED} times; "
                "take out those that link folders to each other"
            )
        try:
            entries = sorted(os.scandir(target), key=lambda entry: entry.name)
        except OSError:
            found.closed.append(relative)
            continue
        for entry in entries:
            if not visible(entry.name):
                continue
            path = f"{relative}/{entry.name}" if relative else entry.name
            if not _is_folder(entry):
                found.files.append(path)
                continue
            inside = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
            if not _holds_one_of(inside, above):
                found.folders.append(path)
                waiting.append((path, inside, (*above, inside)))
    return found


def _holds_one_of(folder: str, others: tuple[str, ...]) -> bool:
    ending = folder.rstrip("/") + "/"
    return any(f"{other}/".startswith(ending) for other in others)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def visible(name: str) -> bool:
    """Whether a file or folder is meant for people: not hidden, not left by an unpacker, a file
    server or an operating system."""
    return not name.startswith(".") and name.lower() not in _SYSTEM


def is_image(path: str) -> bool:
    return path.lower().endswith(ENDINGS)


def images_below(files: Iterable[str], folder: str) -> list[str]:
    """Image files below a folder, at any depth."""
    return [path for path in files if path.startswith(f"{folder}/") and is_image(path)]


def others_below(files: Iterable[str], folder: str) -> list[str]:
    """Files below a folder that are no image."""
    return [path for path in files if path.startswith(f"{folder}/") and not is_image(path)]
