"""The one reader of labels and ground truth, for use after a study has ended.

Only `tuner.evaluation` and `tuner.report` may import this module. Images are matched by the hash
of their content, so that nothing that was prepared for a study has to know where an image lay.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from tuner.data import survey, visa
from tuner.data.errors import DataError
from tuner.data.images import Size, content_hash
from tuner.data.layouts import masks as listed_masks
from tuner.data.layouts import parts
from tuner.data.source import DEMO, TreeSource, demand, open_tree
from tuner.limits import processors


@dataclass(frozen=True)
class Labels:
    """Truth about a test batch of M images, in the order of the hashes that were asked for.

    `anomalous` bool `[M]`; `defects` their names, empty for good images; `masks` bool
    `[M, H, W]`, True where defective, or None where the data hold no mask at all; `mask_known`
    bool `[M]`, False for a defective image whose mask is missing (its mask is all False and means
    nothing); `missing_masks` counts those.
    """

    anomalous: np.ndarray = field(repr=False)
    defects: tuple[str, ...] = field(repr=False)
    masks: np.ndarray | None = field(repr=False)
    mask_known: np.ndarray = field(repr=False)
    missing_masks: int


@dataclass(frozen=True)
class _Truth:
    hash: str
    defect: str
    mask: Callable[[], np.ndarray | None]


def load_labels(
    location: str,
    category: str,
    size: Size,
    test_hashes: Sequence[str],
    cache: Path | None = None,
) -> Labels | None:
    """Labels of prepared test images, or None where the data hold none (the plain layout).

    `size` is the (H, W) of the prepared images, to which masks are brought. Raises DataError
    where an image of the study is no longer in the data.
    """
    truths = _demo(category) if location == DEMO else _files(open_tree(location, cache), category)
    if truths is None:
        return None
    matched = _matched(truths, test_hashes, location)
    drawn = list(survey.in_parallel(lambda truth: _mask(truth, size), matched, processors()))
    anomalous = np.array([bool(truth.defect) for truth in matched], bool)
    known = np.array([mask is not None for mask in drawn], bool)
    masks = None
    if bool((known & anomalous).any()):
        empty = np.zeros(size, bool)
        masks = np.stack([empty if mask is None else mask for mask in drawn])
    return Labels(
        anomalous, tuple(truth.defect for truth in matched), masks, known, int((~known).sum())
    )


def _matched(truths: Sequence[_Truth], hashes: Sequence[str], location: str) -> list[_Truth]:
    """One truth a hash. Copies of one image take theirs in turn, contradictory or not."""
    by_hash: dict[str, list[_Truth]] = defaultdict(list)
    for truth in truths:
        by_hash[truth.hash].append(truth)
    lost = sum(hash not in by_hash for hash in hashes)
    if lost:
        raise DataError(
            f"{lost} of the {len(hashes)} test images of the study are no longer in {location}; "
            "restore the data as they were, or start another study on what is there now"
        )
    taken: dict[str, int] = defaultdict(int)
    matched = []
    for hash in hashes:
        matched.append(by_hash[hash][taken[hash] % len(by_hash[hash])])
        taken[hash] += 1
    return matched


def _mask(truth: _Truth, size: Size) -> np.ndarray | None:
    """bool H x W; None where a defect's mask is missing, unreadable or empty."""
    if not truth.defect:
        return np.zeros(size, bool)
    mask = truth.mask()
    return None if mask is None or not mask.any() else resize_mask(mask, size)


def resize_mask(mask: np.ndarray, size: Size) -> np.ndarray:
    """Nearest-neighbour resize of a bool mask to H x W `size`.

    A defect so small that no sample falls on it keeps every pixel that it touches.
    """
    from PIL import Image

    height, width = size
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    nearest = np.asarray(image.resize((width, height), Image.Resampling.NEAREST)) > 0
    if nearest.any():
        return nearest
    touched = image.convert("F").resize((width, height), Image.Resampling.BOX)
    return np.asarray(touched) > 0


def _demo(category: str) -> list[_Truth]:
    from tuner.data.demo.catalogue import names
    from tuner.data.demo.truth import truth

    demand(category, names(), DEMO)
    return [
        _Truth(known.hash, known.defect, lambda mask=known.mask: mask)  # type: ignore[misc]
        for known in truth(category)
    ]


def _files(source: TreeSource, category: str) -> list[_Truth] | None:
    folder = source.folder(category)
    tree = source.tree
    if source.layout == "plain":
        return None
    if source.layout == "visa":
        named = _visa_rows(source, category)
    else:
        by_image = {
            image: mask
            for mask, image in listed_masks(tree, "mvtec", category, folder).items()
            if image is not None
        }
        named = [
            (path, _defect(path, folder), by_image.get(path))
            for path in parts(tree, "mvtec", category, folder).test
        ]
    named = [entry for entry in named if entry[0] in set(tree.files)]
    hashes = survey.in_parallel(lambda entry: _hash(source, entry[0]), named, processors())
    return [
        _Truth(hash, defect, lambda mask=mask: _read_mask(source, mask))  # type: ignore[misc]
        for hash, (_, defect, mask) in zip(hashes, named, strict=True)
    ]


def _visa_rows(source: TreeSource, category: str) -> list[tuple[str, str, str | None]]:
    rows = visa.rows(source.tree, ("object", "split", "label", "image", "mask"))
    return [
        (row["image"], "" if row["label"] == "normal" else row["label"], row["mask"] or None)
        for row in rows
        if row["object"] == category and row["split"] == "test"
    ]


def _defect(path: str, folder: str) -> str:
    """The name of the folder below `test`; empty for `good`."""
    base = f"{folder}/test" if folder else "test"
    name = PurePosixPath(path).relative_to(base).parts[0]
    return "" if name == "good" else name


def _hash(source: TreeSource, path: str) -> str:
    try:
        return content_hash(source.tree.read(path))
    except OSError:
        return ""


def _read_mask(source: TreeSource, path: str | None) -> np.ndarray | None:
    """bool, True where the file is not zero (palettes and indices count by their numbers)."""
    from PIL import Image

    if path is None or path not in source.tree.files:
        return None
    try:
        with Image.open(io.BytesIO(source.tree.read(path))) as image:
            plain = image if image.mode in ("1", "L", "P", "I;16", "I") else image.convert("L")
            return np.asarray(plain) > 0
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
