"""Where images come from, behind one face: what a source is, and the one of files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tuner.addresses import demand_utf8, local_path, printable
from tuner.data.errors import DataError
from tuner.data.layouts import Layout, Recognised, parts, recognise
from tuner.data.tree import Tree, open_folder

if TYPE_CHECKING:
    import numpy as np

DEMO = "demo"


@dataclass(frozen=True)
class Item:
    """One image. `read()` gives the bytes of its file, or uint8 `[H, W, 3]` if it is generated.

    `name` is for messages and set for training images only: the path of a test image would
    betray its label.
    """

    read: Callable[[], bytes | np.ndarray] = field(repr=False)
    name: str = ""


@dataclass(frozen=True)
class Listing:
    """The images of one category, before any is read. The order of `test` carries no meaning."""

    category: str
    train: tuple[Item, ...]
    test: tuple[Item, ...]
    warnings: tuple[str, ...] = ()


class Source(Protocol):
    """A place with one or more categories."""

    @property
    def location(self) -> str:
        """`demo`, an absolute path, or an S3 URL: it means the same from anywhere."""
        ...

    @property
    def layout(self) -> Layout: ...

    @property
    def demo(self) -> bool:
        """Whether the images are generated and stand for no real part."""
        ...

    def categories(self) -> list[str]:
        """Sorted."""
        ...

    def listing(self, category: str) -> Listing:
        """Raises DataError for an unknown category, and where images are wanting."""
        ...

    def stamp(self, category: str) -> str | None:
        """Something that changes whenever the contents do, if it can be had without reading."""
        ...


@dataclass(frozen=True)
class TreeSource:
    """Files in one of the known layouts; see `Source`."""

    tree: Tree
    recognised: Recognised

    @property
    def location(self) -> str:
        return self.tree.location

    @property
    def layout(self) -> Layout:
        return self.recognised.layout

    @property
    def demo(self) -> bool:
        return False

    def categories(self) -> list[str]:
        return sorted(self.recognised.folders)

    def folder(self, category: str) -> str:
        """Where a category lies below the location; raises DataError if it does not exist."""
        demand(category, self.categories(), self.location)
        return self.recognised.folders[category]

    def listing(self, category: str) -> Listing:
        try:
            demand_utf8("category", category)
        except ValueError as error:
            raise DataError(str(error)) from None
        found = parts(self.tree, self.layout, category, self.folder(category))
        return Listing(
            category,
            tuple(Item(partial(self.tree.read, path), printable(path)) for path in found.train),
            tuple(Item(partial(self.tree.read, path)) for path in _mixed(found.test)),
            found.warnings,
        )

    def stamp(self, category: str) -> str | None:
        return None


def open_tree(location: str, cache: Path | None = None) -> TreeSource:
    """A folder or `s3://bucket/prefix`; see `tuner.data.opening`."""
    if not location:
        raise DataError("the data location is empty; give demo, a folder, or s3://bucket/prefix")
    tree: Tree
    if location.lower().startswith("s3://"):
        from tuner.data.s3 import open_bucket

        tree = open_bucket("s3://" + location[len("s3://") :], cache)
    elif location.startswith("file:"):
        tree = open_folder(str(local_path(location)))
    elif "://" in location:
        kind = location.partition("://")[0]
        raise DataError(
            f"data locations of the kind {kind}:// are not known; give demo, a "
            "folder, or s3://bucket/prefix"
        )
    else:
        tree = open_folder(location)
    return TreeSource(tree, recognise(tree))


def demand(category: str, known: list[str], location: str) -> None:
    """Raise DataError, listing what exists, unless the category does."""
    if category in known:
        return
    close = get_close_matches(category, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise DataError(
        f"category {category!r} does not exist in {location}; there are: {', '.join(known)}{hint}"
    )


def _mixed(paths: tuple[str, ...]) -> list[str]:
    return sorted(paths, key=lambda path: hashlib.blake2b(os.fsencode(path)).digest())
