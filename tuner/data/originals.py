"""Which files an unlabelled batch came from, for people to look at once a study has chosen.

A name or a folder may say what a label says: only the report (`tuner.story`) may import this
module. Images are matched by the hash of their content, as labels are.
"""

from __future__ import annotations

import os.path
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from tuner.addresses import printable
from tuner.data import survey
from tuner.data.layouts import parts
from tuner.data.opening import open_source
from tuner.data.source import DEMO, Item, open_tree
from tuner.limits import processors


@dataclass(frozen=True)
class Original:
    """A file of the batch: its `name`, its `path` below what all files of the batch have in common,
    and how to read it."""

    name: str
    path: str
    read: Callable[[], bytes | np.ndarray] = field(repr=False)


def originals(
    location: str, category: str, hashes: Sequence[str], cache: Path | None = None
) -> list[Original | None]:
    """The file of each hash; None for one that is no longer there. Copies of one image take turns.

    Raises DataError where the location is gone, or has no such category.
    """
    found = _demo(category) if location == DEMO else _files(location, category, cache)
    digests = survey.in_parallel(survey.hash_of, [Item(each.read) for each in found], processors())
    by_hash: dict[str, list[Original]] = defaultdict(list)
    for digest, each in zip(digests, found, strict=True):
        by_hash[digest].append(each)
    taken: dict[str, int] = defaultdict(int)
    matched: list[Original | None] = []
    for digest in hashes:
        copies = by_hash.get(digest)
        matched.append(copies[taken[digest] % len(copies)] if copies else None)
        taken[digest] += 1
    return matched


def _demo(category: str) -> list[Original]:
    images = open_source(DEMO).listing(category).test
    return [
        Original(f"demo image {slot}", f"demo image {slot}", image.read)
        for slot, image in enumerate(images)
    ]


def _files(location: str, category: str, cache: Path | None) -> list[Original]:
    source = open_tree(location, cache)
    paths = parts(source.tree, source.layout, category, source.folder(category)).test
    shared = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    return [
        Original(
            printable(PurePosixPath(path).name),
            printable(path.removeprefix(f"{shared}/") if shared else path),
            partial(source.tree.read, path),
        )
        for path in paths
    ]
