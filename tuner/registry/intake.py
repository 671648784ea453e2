"""Images in any form that a user has them, to what a detector takes."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as Picture
from PIL.Image import Resampling, fromarray

from tuner.data.images import Size, decode, samples_of
from tuner.data.survey import Depth, to_uint8

Image = NDArray[Any] | str | Path | bytes | Picture
Images = Image | Sequence[Image]

_HALF = 127


@dataclass(frozen=True)
class Intake:
    """How images become what a detector takes: their (height, width), the scale of 16-bit samples,
    and the recipe by which files become pixels."""

    size: tuple[int, int]
    depth: Depth
    recipe: int


def listed(images: Images) -> list[Any]:
    """One entry for each image. Raises ValueError for an array of a wrong shape, or no image."""
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | Picture):
        return [images]
    if isinstance(images, np.ndarray) and images.dtype != object:
        entries = _split(images)
    else:
        try:
            entries = list(images)
        except TypeError:
            raise ValueError(
                f"images are {type(images).__name__}, but must be arrays, paths, bytes, images of "
                "Pillow, or a list of them"
            ) from None
    if not entries:
        raise ValueError("there is no image; give at least one")
    return entries


@dataclass(frozen=True)
class Batch:
    """Images that a detector takes: `pixels` uint8 `[B, 3, H, W]`; `names` are their paths, or
    `image 0`, `image 1`; `sizes` their own (height, width)."""

    pixels: NDArray[np.uint8] = field(repr=False)
    names: tuple[str, ...]
    sizes: tuple[Size, ...]


def batches(images: Images, intake: Intake, batch: int) -> Iterator[Batch]:
    """Batches of at most `batch` images, decoded and resized as the training images were.

    A folder, a glob or an `s3://` prefix stands for every image in it. Arrays are `[H, W]`,
    `[H, W, 1]`, `[H, W, 3]` or `[H, W, 4]` (the fourth channel is alpha, laid on black): uint8,
    uint16 (on the scale of the intake), or floats in [0, 1]. Pillow's images are taken, too. Raises
    ValueError, naming the image, for anything else and for a file that cannot be read.
    """
    entries = [image for entry in listed(images) for image in _spread(entry)]
    for start in range(0, len(entries), batch):
        part = enumerate(entries[start : start + batch], start)
        read = [_one(entry, index, intake) for index, entry in part]
        names, pixels, sizes = zip(*read, strict=True)
        yield Batch(np.stack(pixels), names, sizes)


def one_image(content: bytes | NDArray[Any], intake: Intake) -> tuple[NDArray[np.uint8], Size]:
    """uint8 `[3, H, W]` of a file's content or of samples, decoded and resized as for training;
    and its own height and width.

    Raises OSError or ValueError where it is no image that can be read.
    """
    decoded = decode(content, intake.size, intake.recipe)
    return to_uint8(decoded.pixels, intake.depth), decoded.native


def _spread(entry: Any) -> list[Any]:
    """The images of a place that may hold several; any other entry alone."""
    if not isinstance(entry, str | os.PathLike):
        return [entry]
    from tuner.prediction.places import Found, find

    place = os.fspath(entry)
    several = place.lower().startswith(("s3://", "file:")) or (
        not os.path.isfile(place) and (os.path.isdir(place) or glob.has_magic(place))
    )
    found: list[Found] = find([place]) if several else []
    return list(found) or [entry]


def repair_masks(masks: Images, size: tuple[int, int]) -> NDArray[np.float32]:
    """float32 `[N, 1, H, W]` at (height, width) `size`: 1 where a mask marks something, else 0.

    Arrays are `[H, W]` and mark what is not 0, files and images of Pillow what is brighter than
    half. A pixel of the result is marked where any of what it stands for is. Raises ValueError,
    naming the mask, for anything else.
    """
    found = []
    for index, entry in enumerate(listed(masks)):
        marked = entry != 0 if isinstance(entry, np.ndarray) else _bright(entry, f"mask {index}")
        if marked.ndim == 3 and marked.shape[2] == 1:
            marked = marked[..., 0]
        if marked.ndim != 2 or 0 in marked.shape:
            raise ValueError(f"mask {index} is {list(marked.shape)}, but must be [H, W]")
        whole = fromarray(marked.astype(np.float32))
        found.append(np.asarray(whole.resize(size[::-1], Resampling.BOX)) > 0)
    return np.stack(found)[:, None].astype(np.float32)


def _bright(entry: Any, name: str) -> NDArray[np.bool_]:
    try:
        if isinstance(entry, Picture):
            return np.asarray(entry.convert("L")) > _HALF
        content = entry if isinstance(entry, bytes) else Path(entry).read_bytes()
        levels = decode(content, None).pixels
        return np.asarray(levels.max(0) > (_HALF if levels.dtype == np.uint8 else 257 * _HALF))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error


def _split(images: NDArray[Any]) -> list[Any]:
    if images.ndim == 2:
        return [images]
    if images.ndim == 3:
        if images.shape[2] in (1, 3, 4):
            return [images]
        if images.shape[0] in (3, 4):
            raise ValueError(
                f"an array of {list(images.shape)} may be one image with its channels first, or "
                f"{images.shape[0]} grey images; give [H, W, {images.shape[0]}] for the one, and a "
                "list of [H, W] or [B, H, W, 1] for the others"
            )
        return list(images)
    if images.ndim == 4:
        return list(images)
    raise ValueError(
        f"images are {list(images.shape)}, but must be [B, H, W, 3], [B, H, W], [H, W, 3] or [H, W]"
    )


def _one(entry: Any, index: int, intake: Intake) -> tuple[str, NDArray[np.uint8], Size]:
    from tuner.prediction.places import Found

    name = f"image {index}"
    try:
        if isinstance(entry, np.ndarray):
            content: bytes | NDArray[Any] = _samples(entry)
        elif isinstance(entry, bytes | bytearray | memoryview):
            content = bytes(entry)
        elif isinstance(entry, Picture):
            content = samples_of(entry)
        elif isinstance(entry, str | os.PathLike):
            name = str(entry)
            content = Path(entry).read_bytes()
        elif isinstance(entry, Found):
            name, content = entry.name, entry.read()
        else:
            raise ValueError(
                f"is {type(entry).__name__}, but must be an array, a path, bytes, or an image of "
                "Pillow"
            )
        return (name, *one_image(content, intake))
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error


def _samples(image: NDArray[Any]) -> NDArray[Any]:
    """uint8 or uint16 `[H, W]`, `[H, W, 3]` or `[H, W, 4]`."""
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in image.shape:
        first = ": channels come last" if image.ndim == 3 and image.shape[0] in (1, 3, 4) else ""
        raise ValueError(f"is {list(image.shape)}, but must be [H, W] or [H, W, 3]{first}")
    if np.issubdtype(image.dtype, np.floating):
        low, high = float(image.min()), float(image.max())
        if not (low >= 0.0 and high <= 1.0):
            raise ValueError(
                f"has values from {low:g} to {high:g}, but floats must be from 0 to 1; divide by "
                "the full scale, or give uint8"
            )
        return np.rint(image * 255.0).astype(np.uint8)
    image = image.astype(image.dtype.newbyteorder("="), copy=False)
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"is {image.dtype}, but must be uint8, uint16, or floats from 0 to 1")
    return np.ascontiguousarray(image)
