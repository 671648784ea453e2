"""Images in any form that a user has them, to what a detector takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.data.images import decode
from tuner.data.survey import Depth, to_uint8

Image = NDArray[Any] | str | Path | bytes
Images = Image | Sequence[Image]


def listed(images: Images) -> list[Any]:
    """One entry for each image. Raises ValueError for an array of a wrong shape, or no image."""
    if isinstance(images, str | Path | bytes | bytearray | memoryview):
        return [images]
    if isinstance(images, np.ndarray) and images.dtype != object:
        entries = _split(images)
    else:
        entries = list(images)
    if not entries:
        raise ValueError("there is no image; give at least one")
    return entries


def batches(
    images: Images, size: tuple[int, int], ceiling: int, batch: int
) -> Iterator[NDArray[np.uint8]]:
    """uint8 `[<= batch, 3, H, W]`, decoded and resized as the training images were.

    Arrays are `[H, W]`, `[H, W, 1]`, `[H, W, 3]` or `[H, W, 4]` (the fourth channel is left
    out): uint8, uint16 (full scale is `ceiling`), or floats in [0, 1]. Raises ValueError, naming
    the image, for anything else and for a file that cannot be read.
    """
    entries = listed(images)
    for start in range(0, len(entries), batch):
        part = enumerate(entries[start : start + batch], start)
        yield np.stack([_one(entry, index, size, ceiling) for index, entry in part])


def one_image(
    content: bytes | NDArray[Any], size: tuple[int, int], ceiling: int
) -> NDArray[np.uint8]:
    """uint8 `[3, H, W]` of a file's content or of samples, decoded and resized as for training.

    Raises OSError or ValueError where it is no image that can be read.
    """
    return to_uint8(decode(content, size).pixels, Depth(ceiling))


def _split(images: NDArray[Any]) -> list[Any]:
    if images.ndim == 2:
        return [images]
    if images.ndim == 3:
        return [images] if images.shape[2] in (1, 3, 4) else list(images)
    if images.ndim == 4:
        return list(images)
    raise ValueError(
        f"images are {list(images.shape)}, but must be [B, H, W, 3], [B, H, W], [H, W, 3] or [H, W]"
    )


def _one(entry: Any, index: int, size: tuple[int, int], ceiling: int) -> NDArray[np.uint8]:
    name = f"image {index}"
    try:
        if isinstance(entry, np.ndarray):
            content: bytes | NDArray[Any] = _samples(entry)
        elif isinstance(entry, bytes | bytearray | memoryview):
            content = bytes(entry)
        elif isinstance(entry, str | Path):
            name = str(entry)
            content = Path(entry).read_bytes()
        else:
            raise ValueError(f"is {type(entry).__name__}, but must be an array, a path or bytes")
        return one_image(content, size, ceiling)
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error


def _samples(image: NDArray[Any]) -> NDArray[Any]:
    """uint8 or uint16 `[H, W]` or `[H, W, 3]`."""
    if image.ndim == 3 and image.shape[2] in (1, 4):
        image = image[..., 0] if image.shape[2] == 1 else image[..., :3]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or 0 in image.shape:
        raise ValueError(f"is {list(image.shape)}, but must be [H, W] or [H, W, 3]")
    if np.issubdtype(image.dtype, np.floating):
        low, high = float(image.min()), float(image.max())
        if not (low >= 0.0 and high <= 1.0):
            raise ValueError(
                f"has values from {low:g} to {high:g}, but floats must be from 0 to 1; divide by "
                "the full scale, or give uint8"
            )
        return np.rint(image * 255.0).astype(np.uint8)
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"is {image.dtype}, but must be uint8, uint16, or floats from 0 to 1")
    return np.ascontiguousarray(image)
