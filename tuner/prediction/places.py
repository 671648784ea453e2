"""Where images to be judged lie: files, folders, globs, S3."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path, PurePosixPath

from tuner.addresses import local_path
from tuner.data.errors import DataError
from tuner.data.tree import Tree, is_image, open_folder, visible

_S3 = "s3://"


@dataclass(frozen=True)
class Found:
    """One image: `name` as a person would write it, `read()` the content of its file."""

    name: str
    read: Callable[[], bytes] = field(repr=False)


def find(places: Sequence[str]) -> list[Found]:
    """Every image of the places, in their order; those of a folder are sorted by name.

    A place is a file, a folder (searched at any depth), a glob (`**` goes through folders), or
    `s3://bucket/prefix`. A file that is named is taken whatever its ending. Raises DataError for a
    place that holds no image.
    """
    found = [image for place in places for image in _in(place)]
    if not found:
        raise DataError("there is no image to judge; give files, folders, globs or s3:// prefixes")
    return found


def _in(place: str) -> list[Found]:
    if place.lower().startswith(_S3):
        return _bucket(_S3 + place[len(_S3) :])
    if place.startswith("file:"):
        place = str(local_path(place))
    path = Path(place).expanduser()
    if path.is_dir():
        return _below(open_folder(place), str(path))
    if path.exists():
        return [Found(place, path.read_bytes)]
    matches = sorted(glob.glob(str(path), recursive=True)) if glob.has_magic(place) else []
    named, goes_round = set(path.parts), cache(_goes_round)
    files = [
        Path(match)
        for match in matches
        if is_image(match) and _meant(match, named, goes_round) and Path(match).is_file()
    ]
    if not files:
        raise DataError(
            f"{place} is no file, no folder, and no pattern that any image matches; check the "
            "spelling"
        )
    return [Found(str(file), file.read_bytes) for file in files]


def _meant(match: str, named: set[str], goes_round: Callable[[str], bool]) -> bool:
    """Whether what a pattern matched is meant by it: not of a file server or an operating system,
    unless the pattern names that; and not found again through a link to a folder above."""
    if not all(part in named or visible(part) for part in Path(match).parts):
        return False
    return not goes_round(os.path.dirname(os.path.abspath(match)))


def _goes_round(folder: str) -> bool:
    """Whether a path goes through one folder twice, by a link to a folder above."""
    above = [os.path.realpath(str(each)) for each in (folder, *Path(folder).parents)]
    return len(set(above)) < len(above)


def _bucket(place: str) -> list[Found]:
    from tuner.data.s3 import open_bucket

    if not is_image(place):
        return _below(open_bucket(place), place.rstrip("/"))
    parent, name = place.rsplit("/", 1)
    tree = open_bucket(parent)
    if name not in tree.files:
        raise DataError(f"there is no object {place}; check its name")
    return [Found(place, partial(tree.read, name))]


def _below(tree: Tree, root: str) -> list[Found]:
    names = [name for name in tree.files if is_image(name)]
    if not names and not tree.closed:
        raise DataError(f"{root} holds no image (PNG, JPEG, BMP or TIFF)")
    # Reading a folder that may not be looked into says why, like an image that cannot be read.
    names += [name or "." for name in tree.closed]
    return [Found(f"{root}/{PurePosixPath(name)}", partial(tree.read, name)) for name in names]
