"""A category as two uint8 arrays, decoded once and kept on disk."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tuner.data import RECIPE, survey
from tuner.data.cache import Entry, kept, key_of
from tuner.data.errors import DataError
from tuner.data.images import LARGEST, Size, checked_size
from tuner.data.layouts import Layout
from tuner.data.opening import open_source
from tuner.data.source import Item, Listing, Source
from tuner.data.survey import Depth, Progress, Read
from tuner.limits import processors

_NETWORK_JOBS = 16
_DISTORTED = 2.0


@dataclass(frozen=True)
class Prepared:
    """One category, ready for a study. It holds no label, and no path of a test image.

    `train` uint8 `[N, 3, H, W]` (normal), `test` uint8 `[M, 3, H, W]` (unlabelled), each in the
    order of its images' content hashes, so that neither names nor folders can show in the order.
    `size` is (H, W) in pixels. `fingerprint` is made from the contents alone: the same images
    under other names have the same one. `path` is the cache folder from which the arrays are
    mapped. 16-bit samples, if there were any, were taken from `floor` to `ceiling`.
    """

    category: str
    location: str
    layout: Layout
    demo: bool
    size: Size
    fingerprint: str
    train: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)
    train_hashes: tuple[str, ...] = field(repr=False)
    test_hashes: tuple[str, ...] = field(repr=False)
    warnings: tuple[str, ...]
    path: Path
    ceiling: int = 65535
    floor: int = 0


def prepare(  # noqa: PLR0917
    location: str,
    category: str,
    size: Size | None,
    cache: Path,
    jobs: int | None = None,
    progress: Progress | None = None,
    recipe: int = RECIPE,
) -> Prepared:
    """Read, decode and resize a category, or take it from the cache if its contents are the same.

    `size` is (H, W); None keeps the images' own size, which must then be one and the same.
    `progress` is called with images done and images in all; `recipe` is the one of the study or
    package that the images are for, where that was made by an earlier version. Raises DataError
    for anything that would spoil the study: see `open_source`, and more than 20 % unreadable images
    of a set.
    """
    wanted = checked_size(size)
    source = open_source(location, cache)
    listing = source.listing(category)
    threads = jobs or (_NETWORK_JOBS if source.location.startswith("s3://") else processors())
    shape = "native" if wanted is None else f"{wanted[0]}x{wanted[1]}"
    stamp = source.stamp(category) or _stamp(listing, threads)
    folder = cache / key_of(str(recipe), source.location, category, shape, stamp)
    arrays, notes = kept(folder, lambda: _make(listing, wanted, threads, progress, recipe))
    train, test = arrays["train"], arrays["test"]
    return Prepared(
        category=category,
        location=source.location,
        layout=source.layout,
        demo=source.demo,
        size=(int(train.shape[2]), int(train.shape[3])),
        fingerprint=fingerprint(notes["train_hashes"], notes["test_hashes"]),
        train=train,
        test=test,
        train_hashes=tuple(notes["train_hashes"]),
        test_hashes=tuple(notes["test_hashes"]),
        warnings=(*said_of(source), *listing.warnings, *notes["warnings"]),
        path=folder,
        ceiling=int(notes["ceiling"]),
        floor=int(notes.get("floor", 0)),
    )


def said_of(source: Source) -> tuple[str, ...]:
    """What must be said wherever this source is used."""
    if not source.demo:
        return ()
    return ("demo data: generated images, not MVTec AD and not a real part",)


def fingerprint(train_hashes: Iterable[str], test_hashes: Iterable[str]) -> str:
    """Of contents only: names, folders and order do not matter."""
    text = ",".join(sorted(train_hashes)) + "|" + ",".join(sorted(test_hashes))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _stamp(listing: Listing, jobs: int) -> str:
    hashes = list(survey.in_parallel(survey.hash_of, (*listing.train, *listing.test), jobs))
    parts = len(listing.train)
    return "|".join((*sorted(hashes[:parts]), "", *sorted(hashes[parts:])))


def _make(
    listing: Listing, size: Size | None, jobs: int, progress: Progress | None, recipe: int
) -> Entry:
    train, test = _read_all(listing, size, jobs, progress, recipe)
    warnings = [*survey.unreadable("training", train), *survey.unreadable("test", test)]
    readable = [image for image in (*train, *test) if image.decoded]
    warnings += size_warnings(readable, size)
    scale = survey.depth(readable, recipe)
    warnings += content_warnings(train, test, scale)
    train = _once(train)
    train_array, train_hashes = _stacked(train, scale)
    test_array, test_hashes = _stacked(test, scale)
    notes = {
        "train_hashes": train_hashes,
        "test_hashes": test_hashes,
        "warnings": warnings,
        "ceiling": scale.ceiling,
        "floor": scale.floor,
    }
    return {"train": train_array, "test": test_array}, notes


def _read_all(
    listing: Listing, size: Size | None, jobs: int, progress: Progress | None, recipe: int
) -> tuple[list[Read], list[Read]]:
    items: tuple[Item, ...] = (*listing.train, *listing.test)
    done: list[Read] = []
    for image in survey.in_parallel(
        lambda item: survey.read(item, size, recipe=recipe), items, jobs
    ):
        done.append(image)
        if progress is not None:
            progress(len(done), len(items))
    return done[: len(listing.train)], done[len(listing.train) :]


def size_warnings(images: Sequence[Read], size: Size | None) -> list[str]:
    """Warnings about sizes that are mixed or of another shape; raises DataError where the size is
    left to the images."""
    counted = survey.sizes(images)
    odd = [] if size is None else aspect_warnings(counted, size)
    if len(counted) < 2:
        if size is None:
            for native in counted:
                checked_size(native)
        return odd
    said = f"the images have {len(counted)} sizes ({survey.in_words(counted)}, height x width)"
    if size is None:
        (height, width), _ = counted.most_common(1)[0]
        raise DataError(
            f"{said}, but must have one where none is asked for; give --size, for example --size "
            f"{height}x{width}"
        )
    return [f"{said} and were resized to {size[0]} x {size[1]}", *odd]


def aspect_warnings(counted: Counter[Size], size: Size) -> list[str]:
    """What is lost of images whose shape is far from that of `size`."""

    def distortion(native: Size) -> float:
        ratio = native[1] * size[0] / (native[0] * size[1])
        return max(ratio, 1 / ratio)

    odd = Counter({n: count for n, count in counted.items() if distortion(n) >= _DISTORTED})
    if not odd:
        return []
    ((height, width), _) = odd.most_common(1)[0]
    rows, columns = height / size[0], width / size[1]
    kept = _sixteens(math.sqrt(size[0] * size[1] * height / width))
    return [
        f"{sum(odd.values())} images of another shape ({survey.in_words(odd)}, height x width) "
        f"become {size[0]} x {size[1]}: a pixel then stands for {rows:.3g} rows and {columns:.3g} "
        f"columns of {height} x {width}, shapes are distorted {distortion((height, width)):.3g} "
        f"times, and what is thinner may be lost; --size {kept}x{_sixteens(kept * width / height)} "
        "keeps their shape at about the same cost"
    ]


def _sixteens(side: float) -> int:
    return min(max(16, 16 * round(side / 16)), LARGEST)


def content_warnings(train: Sequence[Read], test: Sequence[Read], scale: Depth) -> list[str]:
    """Warnings about the depth, the colours and the copies of a category's images."""
    warnings = [scale.warning] if scale.warning else []
    warnings += survey.pixel_warnings(train, test)
    repeats = sum(image.decoded is not None for image in train) - len(_hashes(train))
    if repeats:
        warnings.append(
            f"{repeats} of {len(train)} training images repeat another one and were left out"
        )
    shared = _hashes(train) & _hashes(test)
    if shared:
        warnings.append(
            f"{len(shared)} images are in the test batch and among the normal images; a detector "
            "that has learnt an image cannot find a defect in it"
        )
    return warnings


def _hashes(images: Sequence[Read]) -> set[str]:
    return {image.hash for image in images if image.decoded}


def _once(images: Sequence[Read]) -> list[Read]:
    """Each content once, so that a held-out normal is never one that was trained on."""
    return list({image.hash: image for image in reversed(images) if image.decoded}.values())


def _stacked(images: Sequence[Read], scale: Depth) -> tuple[np.ndarray, list[str]]:
    """`[N, 3, H, W]` and hashes, in the order of the hashes."""
    ordered = sorted((image for image in images if image.decoded), key=lambda image: image.hash)
    pixels = [image.decoded.pixels for image in ordered if image.decoded]
    stacked = np.empty((len(pixels), *pixels[0].shape), np.uint8)
    for row, image in enumerate(pixels):
        stacked[row] = survey.to_uint8(image, scale)
    return stacked, [image.hash for image in ordered]
