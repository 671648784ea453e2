"""Reading all images of a category at once, and what there is to say about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from tuner.data import RECIPE
from tuner.data.errors import DataError
from tuner.data.images import Decoded, Size, content_hash, decode
from tuner.data.source import Item

Progress = Callable[[int, int], None]
UNREADABLE_SHARE = 0.2
"""More unreadable images than this share of a set are an error."""

FEW_LEVELS = 64
"""Fewer of 256 levels than this are spread over all of them."""

_NAMED = 3
_HARDLY_ANY = 32
_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Read:
    """One image as read: its content's hash and either its pixels or why there are none."""

    name: str
    hash: str
    decoded: Decoded | None = None
    reason: str = ""


@dataclass(frozen=True)
class Depth:
    """How samples of 16-bit files become 8 bit: from `floor` to `ceiling` they are 0 to 255."""

    ceiling: int
    floor: int = 0
    warning: str = ""


def in_parallel(
    work: Callable[[_Given], _Made], given: Sequence[_Given], jobs: int
) -> Iterator[_Made]:
    """Results in the order given, from threads: reading and Pillow's decoders free the lock."""
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        try:
            yield from pool.map(work, given)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def hash_of(item: Item) -> str:
    """The content's hash; the empty string where it cannot be read."""
    try:
        return content_hash(item.read())
    except OSError:
        return ""


def read(item: Item, size: Size | None, keep: bool = True, recipe: int = RECIPE) -> Read:
    """Read and decode one image; `keep=False` forgets the pixels and keeps what is known of them.

    An image that cannot be read is no exception but a reason. DataErrors pass: they concern the
    whole source.
    """
    found = ""
    try:
        content = item.read()
        found = content_hash(content)
        decoded = decode(content, size, recipe)
    except DataError:
        raise
    except (OSError, ValueError, MemoryError) as error:
        return Read(item.name, found, None, _reason(error))
    if not keep:
        decoded = replace(decoded, pixels=np.empty((3, 0, 0), decoded.pixels.dtype))
    return Read(item.name, found, decoded)


def unreadable(what: str, images: Sequence[Read]) -> tuple[str, ...]:
    """A warning for the images that cannot be read; names only where the items have them, else how
    many have which fault."""
    bad = [image for image in images if image.decoded is None]
    if not bad:
        return ()
    named = [f"{image.name}: {image.reason}" for image in bad if image.name]
    faults = Counter(image.reason for image in bad).most_common()
    listed = named or [f"{count}: {reason}" for reason, count in faults]
    detail = f"{'; '.join(listed[:_NAMED])}{'; ...' if len(listed) > _NAMED else ''}"
    said = f"{len(bad)} of {len(images)} {what} images cannot be read ({detail})"
    if len(bad) > UNREADABLE_SHARE * len(images):
        raise DataError(
            f"{said}; at most {UNREADABLE_SHARE:.0%} may be unreadable: restore those files, or "
            "save them as 8- or 16-bit PNG, JPEG, BMP or TIFF"
        )
    return (f"{said} and were left out",)


def depth(images: Sequence[Read], recipe: int = RECIPE) -> Depth:
    """The scale of the 16-bit files among the images: one for all, whatever single pixels hold.

    Cameras of 10 to 14 bits write their samples into the low bits of 16: taken at full scale such
    images would be nearly black. Where even the camera's own scale leaves few levels, as with
    temperatures, what the images use is spread, with a quarter more at either end.
    """
    deep = [image.decoded for image in images if image.decoded and _is_deep(image.decoded)]
    if not deep:
        return Depth(65535)
    peak = max(image.peak for image in deep)
    low, high = min(image.low for image in deep), max(image.high for image in deep)
    robust = recipe >= 3
    steps = (8, 10, 12, 14, 16) if robust else (8, 10, 12, 16)
    bits = next(bits for bits in steps if (high if robust else peak) < 1 << bits)
    ceiling = (1 << bits) - 1
    said = f"{len(deep)} images have 16 bits a sample, but "
    used = high - low
    if robust and used > 0 and used * 255 / ceiling < FEW_LEVELS:
        margin = max(1, used // 4)
        floor, ceiling = max(0, low - margin), min(65535, high + margin)
        few = f"; {used + 1} levels are few for a defect to be seen by" if used < FEW_LEVELS else ""
        return Depth(
            ceiling, floor, f"{said}use {low} to {high} alone: {floor} to {ceiling} is spread over "
            f"the 256 levels that a detector sees, for all images alike{few}"
        )  # fmt: skip
    if bits == 16:
        return Depth(ceiling)
    above = f"no sample above {peak}"
    if peak > ceiling:
        above = f"but for single pixels none above {high}"
    return Depth(ceiling, 0, f"{said}{above}: they are taken as {bits}-bit images in 16-bit files")


def depth_in_words(images: Sequence[Read], scale: Depth) -> str:
    """How many images have how many bits a sample, and which samples they use."""
    decoded = [image.decoded for image in images if image.decoded]
    said = []
    for bits, part in (
        (8, [image for image in decoded if not _is_deep(image)]),
        (16, [image for image in decoded if _is_deep(image)]),
    ):
        if part:
            low, high = min(image.low for image in part), max(image.high for image in part)
            taken = f", taken from {scale.floor} to {scale.ceiling}" if bits == 16 else ""
            said.append(f"{len(part)} of {bits} bit (samples {low} to {high}{taken})")
    return ", ".join(said)


def pixel_warnings(train: Sequence[Read], test: Sequence[Read]) -> list[str]:
    """What is odd about the pixels of the readable images, other than their depth."""
    both = [image.decoded for image in (*train, *test) if image.decoded]
    deep = sum(map(_is_deep, both))
    clear = sum(image.clear for image in both)
    grey = [sum(bool(i.decoded and i.decoded.grey) for i in part) for part in (train, test)]
    shallow = [image for image in both if not _is_deep(image)]
    said = []
    if 0 < deep < len(both):
        said.append(
            f"{deep} of {len(both)} images have 16 bits a sample and the others 8, each kind "
            "scaled by itself: save all alike"
        )
    if clear:
        said.append(f"{clear} images have transparent parts, which are taken as black")
    if 0 < sum(grey) < len(both):
        said.append(
            f"{sum(grey)} of {len(both)} images are grey and the others colour ({grey[0]} of the "
            f"normal, {grey[1]} of the unlabelled ones): a detector takes that for a difference of "
            "the parts; save all alike"
        )
    if shallow:
        low, high = min(image.low for image in shallow), max(image.high for image in shallow)
        if high - low < _HARDLY_ANY:
            said.append(
                f"the images use {high - low + 1} of 256 levels ({low} to {high}), which are few "
                "for a defect to be seen by; look at the camera's exposure"
            )
    return said


def sizes(images: Sequence[Read]) -> Counter[Size]:
    """How many readable images have each height and width."""
    return Counter(image.decoded.native for image in images if image.decoded)


def in_words(counted: Counter[Size], most: int = 4) -> str:
    """`90 of 256 x 256, 2 of 300 x 200` (height x width)."""
    common = [f"{count} of {h} x {w}" for (h, w), count in counted.most_common(most)]
    rest = sum(counted.values()) - sum(count for _, count in counted.most_common(most))
    return ", ".join(common) + (f", {rest} of other sizes" if rest else "")


def to_uint8(pixels: np.ndarray, scale: Depth) -> np.ndarray:
    """uint16 samples to uint8 (rounded); uint8 pass."""
    if pixels.dtype == np.uint8:
        return pixels
    span = scale.ceiling - scale.floor
    scaled = np.rint((pixels.astype(np.float32) - scale.floor) * (255.0 / span))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def _is_deep(decoded: Decoded) -> bool:
    return decoded.pixels.dtype == np.uint16


def _reason(error: BaseException) -> str:
    # Only the first line and never a path: the item's own name says which file it is.
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).splitlines()[0] if str(error) else type(error).__name__
