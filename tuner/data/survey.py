"""Reading all images of a category at once, and what there is to say about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tuner.data.errors import DataError
from tuner.data.images import Decoded, Size, content_hash, decode
from tuner.data.source import Item

Progress = Callable[[int, int], None]
UNREADABLE_SHARE = 0.2
"""More unreadable images than this share of a set are an error."""

_NAMED = 3
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
    """How samples become 8 bit: those of 16-bit files are divided by `ceiling` / 255."""

    ceiling: int
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


def read(item: Item, size: Size | None, keep: bool = True) -> Read:
    """Read and decode one image; `keep=False` forgets the pixels and keeps what is known of them.

    An image that cannot be read is no exception but a reason. DataErrors pass: they concern the
    whole source.
    """
    found = ""
    try:
        content = item.read()
        found = content_hash(content)
        decoded = decode(content, size)
    except DataError:
        raise
    except (OSError, ValueError, MemoryError) as error:
        return Read(item.name, found, None, _reason(error))
    if not keep:
        decoded = Decoded(np.empty((3, 0, 0), decoded.pixels.dtype), decoded.native, decoded.peak)
    return Read(item.name, found, decoded)


def unreadable(what: str, images: Sequence[Read]) -> tuple[str, ...]:
    """A warning for the images that cannot be read; names only where the items have them."""
    bad = [image for image in images if image.decoded is None]
    if not bad:
        return ()
    named = [f"{image.name}: {image.reason}" for image in bad if image.name][:_NAMED]
    detail = f" ({'; '.join(named)}{'; ...' if len(bad) > _NAMED else ''})" if named else ""
    said = f"{len(bad)} of {len(images)} {what} images cannot be read{detail}"
    if len(bad) > UNREADABLE_SHARE * len(images):
        raise DataError(
            f"{said}; at most {UNREADABLE_SHARE:.0%} may be unreadable: copy them again, or save "
            "them as 8- or 16-bit PNG, JPEG, BMP or TIFF"
        )
    return (f"{said} and were left out",)


def depth(images: Sequence[Read]) -> Depth:
    """The full scale of the 16-bit files among the images, from the largest sample of all.

    Cameras of 10 or 12 bits write their samples into the low bits of 16: taken at full scale
    such images would be nearly black.
    """
    deep = [image.decoded for image in images if image.decoded and _is_deep(image.decoded)]
    peak = max((image.peak for image in deep), default=0)
    if not deep or peak >= 1 << 12:
        return Depth(65535)
    bits = next(bits for bits in (8, 10, 12) if peak < 1 << bits)
    return Depth(
        (1 << bits) - 1,
        f"{len(deep)} images have 16 bits a sample, but no sample above {peak}: they are taken as "
        f"{bits}-bit images in 16-bit files",
    )


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
    scaled = np.rint(pixels.astype(np.float32) * (255.0 / scale.ceiling))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def _is_deep(decoded: Decoded) -> bool:
    return decoded.pixels.dtype == np.uint16


def _reason(error: BaseException) -> str:
    # Only the first line and never a path: the item's own name says which file it is.
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).splitlines()[0] if str(error) else type(error).__name__
