"""Random fields on a square canvas: the raw material of surfaces and defects.

Canvases are float32 `[256, 256]` unless said otherwise; lengths are pixels of that canvas.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

NATIVE = 256
"""Height and width at which demo images are generated."""


def coordinates() -> tuple[np.ndarray, np.ndarray]:
    """Row and column of every pixel's centre, from the centre of the canvas."""
    axis = np.arange(NATIVE, dtype=np.float32) - (NATIVE - 1) / 2
    return np.meshgrid(axis, axis, indexing="ij")


def turned(angle: float, shift: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates `(u, v)` of a plane that lies turned by `angle` (radians) and shifted."""
    row, column = coordinates()
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u = cosine * column - sine * row + np.float32(shift[0])
    v = sine * column + cosine * row + np.float32(shift[1])
    return u, v


def white(rng: Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape or (NATIVE, NATIVE), dtype=np.float32)


def grains(rng: Generator, sigma: float) -> np.ndarray:
    """Gaussian noise with a correlation length of `sigma`, standardised."""
    from scipy.ndimage import gaussian_filter

    # Coarse grains look the same from half as many points, at a quarter of the cost.
    coarse = 2 if sigma >= 3 else 1
    side = NATIVE // coarse
    field = gaussian_filter(white(rng, side, side), sigma / coarse, mode="wrap", truncate=2.5)
    field = drawn_out(field) if coarse > 1 else field
    return field / (field.std() + np.float32(1e-6))


def waves(rng: Generator, rows: int, columns: int | None = None) -> np.ndarray:
    """Slow variation: a coarse random grid drawn out smoothly. About unit variance."""
    return drawn_out(white(rng, rows + 1, (columns or rows) + 1))


def drawn_out(coarse: np.ndarray) -> np.ndarray:
    """A small array drawn out to the canvas, smoothly."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(coarse, np.float32))
    return np.asarray(image.resize((NATIVE, NATIVE), Image.Resampling.BICUBIC))


def step(field: np.ndarray, edge: float, width: float) -> np.ndarray:
    """0 below `edge`, 1 above, with a ramp of `width` around it."""
    return np.clip((field - np.float32(edge)) / np.float32(width) + np.float32(0.5), 0, 1)


def mixed(below: np.ndarray, above: np.ndarray, share: np.ndarray) -> np.ndarray:
    """`above` laid over `below` where `share` is 1; colours broadcast over `[H, W, 3]`."""
    return below + (above - below) * share[..., None]


def colour(*rgb: float) -> np.ndarray:
    return np.array(rgb, np.float32)
