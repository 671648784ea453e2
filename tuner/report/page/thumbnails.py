"""Pictures as data addresses."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tuner.report.page.story import Picture
from tuner.report.pictures import overlay
from tuner.report.sheet import Array, as_array, as_pictures

SIDE = 160
LARGE = 384
"""The longer side of a photograph on the page, in pixels."""

FOUND = (255, 64, 64)


def thumbnails(images: ArrayLike, alts: list[str]) -> list[Picture]:
    """Pictures of float `[n, 3, H, W]` in [0, 1], the longer side about 160 pixels."""
    shown = as_pictures(images, "images")
    return [
        _picture(np.rint(255 * image).astype(np.uint8), alt, SIDE)
        for image, alt in zip(shown, alts, strict=True)
    ]


def photograph(image: Array, alt: str, heat: ArrayLike | None = None, level: float = 0) -> Picture:
    """A photograph uint8 `[H, W, 3]`; where a map `[h, w]` is above `level`, that is outlined."""
    shown = _reduced(image)
    if heat is not None:
        inside = _brought(heat, shown) > level
        shown = shown.copy()
        shown[_outline(inside)] = FOUND
    return _picture(shown, alt, LARGE)


def heat_map(image: Array, heat: ArrayLike, alt: str, scale: tuple[float, float]) -> Picture:
    """A map `[h, w]` over the grey photograph uint8 `[H, W, 3]`, coloured from `scale`'s low end to
    its high one."""
    shown = _reduced(image)
    blended = overlay(shown / 255.0, _brought(heat, shown), *scale)
    return _picture(np.rint(255 * blended).astype(np.uint8), alt, LARGE)


def mask_picture(mask: ArrayLike, image: Array, alt: str) -> Picture:
    """A bool mask `[h, w]`, white on black, as large as the photograph on the page."""
    from PIL import Image

    shown, drawn = _reduced(image), Image.fromarray(as_array(mask).astype(np.uint8) * 255)
    sides = (shown.shape[1], shown.shape[0])
    white = np.asarray(drawn.resize(sides, Image.Resampling.NEAREST))
    return _picture(np.repeat(white[..., None], 3, axis=-1), alt, LARGE, lossless=True)


def _reduced(image: Array) -> NDArray[np.uint8]:
    """uint8 `[H, W, 3]`, the longer side at most 384 pixels; a smaller one grows by whole times."""
    from PIL import Image

    pixels = as_array(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"a photograph is {pixels.shape} {pixels.dtype}, but must be [H, W, 3]")
    drawn = Image.fromarray(pixels)
    return np.asarray(drawn.resize(*_sides(drawn.size, LARGE)))


def _brought(heat: ArrayLike, image: Array) -> Array:
    """A map at the size of an image, bilinearly. Raises ValueError for what is no map."""
    from PIL import Image

    values = as_array(heat).astype(np.float32)
    if values.ndim != 2:
        raise ValueError(f"a map is {values.shape}, but must be [H, W]")
    drawn = Image.fromarray(values).resize(image.shape[1::-1], Image.Resampling.BILINEAR)
    return np.asarray(drawn)


def _outline(inside: Array) -> Array:
    """The border of a region, two pixels wide, on the outside of it."""
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(inside, iterations=2) & ~inside)


def _sides(size: tuple[int, int], longest: int) -> tuple[tuple[int, int], Any]:
    """(width, height) for a picture of `size`, and how to resample it."""
    from PIL import Image

    own = max(size)
    # Whole multiples keep the pixels of small images square and sharp.
    scale = max(1, longest // own) if own < longest else longest / own
    way = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    return (max(1, round(size[0] * scale)), max(1, round(size[1] * scale))), way


def _picture(image: Array, alt: str, longest: int, *, lossless: bool = False) -> Picture:
    from PIL import Image

    drawn = Image.fromarray(np.ascontiguousarray(image))
    buffer = io.BytesIO()
    resized = drawn.resize(*_sides(drawn.size, longest))
    resized.save(buffer, format="WEBP", quality=80, method=4, lossless=lossless)
    data = base64.b64encode(buffer.getvalue()).decode()
    return Picture(f"data:image/webp;base64,{data}", alt)
