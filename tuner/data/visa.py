"""VisA's split file: a table with one line an image."""

from __future__ import annotations

import csv
import io
import posixpath

from tuner.data.errors import DataError
from tuner.data.tree import Tree

SPLIT_FILE = "split_csv/1cls.csv"
PUBLIC = ("object", "split", "image")
"""The columns that may be read before an audit."""


def split_file(tree: Tree) -> str | None:
    """The path of the one-class split, if the tree has one; in any case where none has this one."""
    wanted = (SPLIT_FILE, "1cls.csv")
    alike = [path for path in tree.files if path.lower() in wanted]
    return min(alike, key=lambda path: (path not in wanted, -len(path), path), default=None)


def rows(tree: Tree, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The named columns of every line, and no other.

    Raises DataError where the file cannot be read or lacks a column.
    """
    path = split_file(tree) or SPLIT_FILE
    try:
        text = tree.read(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise DataError(
            f"{path} of {tree.location} cannot be read as UTF-8 text; restore that file"
        ) from None
    table = csv.DictReader(io.StringIO(text))
    missing = [name for name in columns if name not in (table.fieldnames or ())]
    if missing:
        raise DataError(
            f"{path} of {tree.location} has no column {', '.join(missing)}; its first line must "
            "be object,split,label,image,mask"
        )
    return [{name: (line[name] or "").strip() for name in columns} for line in table]


def plain(path: str) -> str:
    """A path of the table as trees write it, however the program that wrote it did."""
    return posixpath.normpath(path.replace("\\", "/")).lstrip("/")


def categories(tree: Tree) -> list[str]:
    """Every object that the split file names; raises DataError where it names none."""
    named = sorted({row["object"] for row in rows(tree, PUBLIC) if row["object"]})
    if not named:
        raise DataError(f"{split_file(tree)} of {tree.location} has no lines; restore that file")
    return named
