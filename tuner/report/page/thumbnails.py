"""Small pictures as data addresses."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tuner.report.page.story import Picture
from tuner.report.pictures import overlay
from tuner.report.sheet import as_array, as_pictures

SIDE = 160


def thumbnails(images: ArrayLike, alts: list[str]) -> list[Picture]:
    """Pictures of float `[n, 3, H, W]` in [0, 1], the longer side about 160 pixels."""
    return [_picture(i, alt) for i, alt in zip(as_pictures(images, "images"), alts, strict=True)]


def heat_thumbnails(
    images: ArrayLike, maps: ArrayLike, alts: list[str], scale: tuple[float, float]
) -> list[Picture]:
    """Heat maps `[n, H, W]` over the grey images `[n, 3, H, W]`. Raises ValueError for other
    shapes."""
    shown, heat = as_pictures(images, "images"), as_array(maps).astype(np.float64)
    if heat.shape != shown.shape[:3]:
        raise ValueError(f"maps are {heat.shape}, but images are {shown.shape}")
    blended = overlay(shown, heat, *scale)
    return [_picture(image, alt) for image, alt in zip(blended, alts, strict=True)]


def _picture(image: NDArray[np.float64], alt: str) -> Picture:
    from PIL import Image

    drawn = Image.fromarray(np.rint(255 * image).astype(np.uint8))
    longest = max(drawn.size)
    # Whole multiples keep the pixels of small images square and sharp.
    scale = max(1, SIDE // longest) if longest < SIDE else SIDE / longest
    sides = (max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale)))
    way = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    buffer = io.BytesIO()
    drawn.resize(sides, way).save(buffer, format="WEBP", quality=85, method=4)
    data = base64.b64encode(buffer.getvalue()).decode()
    return Picture(f"data:image/webp;base64,{data}", alt)
