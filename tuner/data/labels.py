"""The one reader of labels and ground truth, for use after a study has ended.

Only `tuner.evaluation` and `tuner.report` may import this module. Images are matched by the hash
of their content, so that nothing that was prepared for a study has to know where an image lay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from tuner.data import survey, visa
from tuner.data.errors import DataError
from tuner.data.images import Size, content_hash, open_picture
from tuner.data.layouts import GOOD, child, finder, no_good_folder, parts, test_folders
from tuner.data.layouts import masks as listed_masks
from tuner.data.source import DEMO, TreeSource, demand, open_tree
from tuner.data.tree import Tree
from tuner.limits import processors

if TYPE_CHECKING:
    from PIL import Image

_MOST_OF_IT = 0.5
# A mask of numbers, not of grey, has flat areas of its low levels; soft edges have none.
_NUMBERS, _FLAT_SHARE = 16, 0.3


@dataclass(frozen=True)
class Labels:
    """Truth about a test batch of M images, in the order of the hashes that were asked for.

    `anomalous` bool `[M]`; `defects` their names, empty for good images; `masks` bool
    `[M, H, W]`, True where defective, or None where the data hold no mask at all; `mask_known`
    bool `[M]`, False for a defective image whose mask is missing (its mask is all False and means
    nothing); `missing_masks` counts those. `warnings` say what is odd about folders and masks.
    """

    anomalous: np.ndarray = field(repr=False)
    defects: tuple[str, ...] = field(repr=False)
    masks: np.ndarray | None = field(repr=False)
    mask_known: np.ndarray = field(repr=False)
    missing_masks: int
    warnings: tuple[str, ...] = ()


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
    warnings: list[str] = []
    if location == DEMO:
        truths = _demo(category)
    else:
        source = open_tree(location, cache)
        found = _files(source, category)
        if found is None:
            return None
        truths = found
        if source.layout == "mvtec":
            warnings += [no_good_folder(test_folders(source.tree, source.folder(category)))]
    matched = _matched(truths, test_hashes, location)
    drawn = list(survey.in_parallel(lambda truth: _mask(truth, size), matched, processors()))
    anomalous = np.array([bool(truth.defect) for truth in matched], bool)
    known = np.array([mask is not None for mask in drawn], bool)
    masks = None
    if bool((known & anomalous).any()):
        empty = np.zeros(size, bool)
        masks = np.stack([empty if mask is None else mask for mask in drawn])
        wide = sum(mask is not None and float(mask.mean()) > _MOST_OF_IT for mask in drawn)
        if wide:
            warnings.append(
                f"{wide} of {int((known & anomalous).sum())} masks cover more than half of their "
                "image: where white is the background they are inverted"
            )
    defects = tuple(truth.defect for truth in matched)
    said = tuple(filter(None, warnings))
    return Labels(anomalous, defects, masks, known, int((~known).sum()), said)


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
        by_image: dict[str | None, list[str]] = defaultdict(list)
        for mask, image in listed_masks(tree, "mvtec", category, folder).items():
            by_image[image].append(mask)
        named = [
            (path, _defect(path, tree, folder), by_image.get(path, []))
            for path in parts(tree, "mvtec", category, folder).test
        ]
    named = [entry for entry in named if entry[0] in set(tree.files)]
    hashes = survey.in_parallel(lambda entry: _hash(source, entry[0]), named, processors())
    return [
        _Truth(hash, defect, lambda masks=masks: _read_masks(source, masks))  # type: ignore[misc]
        for hash, (_, defect, masks) in zip(hashes, named, strict=True)
    ]


def _visa_rows(source: TreeSource, category: str) -> list[tuple[str, str, list[str]]]:
    rows = visa.rows(source.tree, ("object", "split", "label", "image", "mask"))
    find = finder({path: path for path in source.tree.files})
    return [
        (
            find(visa.plain(row["image"])) or "",
            "" if row["label"].lower() == "normal" else row["label"],
            [find(visa.plain(row["mask"])) or ""] if row["mask"] else [],
        )
        for row in rows
        if row["object"] == category and row["split"].lower() == "test"
    ]


def _defect(path: str, tree: Tree, folder: str) -> str:
    """The name of the folder below `test`; empty for `good`."""
    name = PurePosixPath(path).relative_to(child(tree, folder, "test") or "test").parts[0]
    return "" if name.lower() == GOOD else name


def _hash(source: TreeSource, path: str) -> str:
    try:
        return content_hash(source.tree.read(path))
    except OSError:
        return ""


def _read_masks(source: TreeSource, paths: Sequence[str]) -> np.ndarray | None:
    """bool, True where any of the masks says defective; None where there is none, one is missing
    or cannot be read, or they differ in size."""
    if not paths or any(path not in source.tree.files for path in paths):
        return None
    try:
        return np.asarray(np.logical_or.reduce([_read_mask(source, path) for path in paths]))
    except (OSError, ValueError):
        return None


def _read_mask(source: TreeSource, path: str) -> np.ndarray:
    with open_picture(source.tree.read(path)) as image:
        return mask_of(image)


def mask_of(image: Image.Image) -> np.ndarray:
    """bool `[H, W]`, True where a mask says that there is a defect, in whatever form it says so.

    What is not background, the lowest level there is, is a defect: 1 or 255, each number of an
    index, each colour. Where a file is lossy or its edges are soft, it is what has at least half of
    the highest level.
    """
    kind = _palette(image)
    grey = np.asarray(image, np.float32) if kind == "numbers" else _brightness(image)
    lossy = image.format == "JPEG"
    low, high = float(grey.min()), float(grey.max())
    if low == high or (lossy and low > high / 2):
        return np.full(grey.shape, high > 0)
    grey, high = grey - low, high - low
    numbered = kind in ("numbers", "colours") or high <= _NUMBERS
    if not lossy and (numbered or _flat_share(grey, high) > _FLAT_SHARE):
        return np.asarray(grey > 0)
    return np.asarray(grey >= high / 2)


def _flat_share(grey: np.ndarray, high: float) -> float:
    """Of the pixels above the noise and below half of the highest level, how many have eight
    neighbours of their own level."""
    # kornia's morphology is as exact, and takes 0.65 to 1.09 of the time up to 256 x 256
    # pixels; but it takes seconds to import, and few masks come here.
    from scipy.ndimage import maximum_filter, minimum_filter

    faint = (grey > high / 16) & (grey < high / 2)
    if not faint.any():
        return 0.0
    flat = maximum_filter(grey, 3) == minimum_filter(grey, 3)
    return float(flat[faint].mean())


def _brightness(image: Image.Image) -> np.ndarray:
    """float32 `[H, W]`: the highest of a pixel's colours on black, or its opacity where that alone
    varies."""
    if image.mode in ("1", "L", "F") or image.mode[0] == "I":
        return np.nan_to_num(np.asarray(image).astype(np.float32))
    clear = "A" in image.getbands() or "transparency" in image.info
    samples = np.asarray(image.convert("RGBA" if clear else "RGB")).astype(np.float32)
    colour = samples[..., :3].max(-1)
    if not clear or samples[..., 3].min() == samples[..., 3].max():
        return np.asarray(colour)
    if bool((samples[..., :3] == samples[0, 0, :3]).all()):
        return np.asarray(samples[..., 3])
    return np.asarray(colour * samples[..., 3] / 255)


def _palette(image: Image.Image) -> str:
    """What tells a defect in an image with a palette: `grey`, where that has nothing else;
    `colours`, where one of them is black; or the `numbers`. Empty for other images."""
    if image.mode != "P":
        return ""
    palette = np.reshape(image.getpalette("RGB") or [0, 0, 0], (-1, 3))
    used = [number for number in np.unique(np.asarray(image)) if number < len(palette)]
    colours = palette[used]
    if (colours == colours[:, :1]).all():
        return "grey"
    return "colours" if (colours == 0).all(1).any() else "numbers"
