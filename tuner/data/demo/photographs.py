"""Gravel, brick and grass: windows of the texture photographs that scikit-image ships.

Training and test images come from parts of the photograph that do not touch.
"""

from __future__ import annotations

from functools import cache, partial

import numpy as np
from numpy.random import Generator
from PIL import Image

from tuner.data.demo.fields import NATIVE, colour, grains, waves

WINDOW = 172.0
"""Side of a window in pixels of the photograph (512 x 512)."""

_BORDER = 296
_CONTRAST = {"gravel": 0.4, "brick": 1.0, "grass": 0.55}
"""Of the photograph, as if taken in softer light: at full contrast defects drown in it."""

_DARK = {
    "gravel": (0.02, 0.02, 0.02),
    "brick": (0.10, 0.05, 0.04),
    "grass": (0.02, 0.05, 0.02),
}
_BRIGHT = {
    "gravel": (0.84, 0.79, 0.73),
    "brick": (0.93, 0.72, 0.62),
    "grass": (0.70, 0.84, 0.48),
}
_UNDER = {
    "gravel": (0.30, 0.25, 0.20),
    "brick": (0.62, 0.58, 0.53),
    "grass": (0.31, 0.23, 0.16),
}


@cache
def sheet(name: str, part: str) -> Image.Image:
    """One part of a photograph, evenly lit and coloured."""
    from scipy.ndimage import gaussian_filter
    from skimage import data

    grey = getattr(data, name)().astype(np.float32) / 255
    even = grey / gaussian_filter(grey, 70.0, mode="reflect") - 1
    even = np.clip(0.5 + 0.5 * _CONTRAST[name] * even, 0, 1)
    even = even[:, :_BORDER] if part == "train" else even[:, _BORDER:]
    dark, bright = colour(*_DARK[name]), colour(*_BRIGHT[name])
    coloured = dark + (bright - dark) * even[..., None]
    return Image.fromarray(np.rint(coloured * 255).astype(np.uint8))


def draw(rng: Generator, part: str, name: str) -> np.ndarray:
    """float32 `[256, 256, 3]`. Position, turn, scale and mirror image differ."""
    whole = sheet(name, part)
    side = WINDOW * float(rng.uniform(0.95, 1.05))
    angle = float(rng.uniform(-0.06, 0.06))
    reach = side / 2 * (np.cos(angle) + abs(np.sin(angle))) + 1
    middle = (
        float(rng.uniform(reach, whole.width - reach)),
        float(rng.uniform(reach, whole.height - reach)),
    )
    cosine, sine = np.cos(angle) * side / NATIVE, np.sin(angle) * side / NATIVE
    half = NATIVE / 2
    affine = (
        cosine, -sine, middle[0] - half * (cosine - sine),
        sine, cosine, middle[1] - half * (sine + cosine),
    )  # fmt: skip
    window = whole.transform(
        (NATIVE, NATIVE), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC
    )
    surface = np.asarray(window, np.float32) / 255
    if rng.random() < 0.5:
        surface = surface[:, ::-1]
    if name == "gravel" and rng.random() < 0.5:
        surface = surface.transpose(1, 0, 2)
    return surface * np.float32(rng.normal(1, 0.03)) * (1 + 0.03 * waves(rng, 3))[..., None]


def under(rng: Generator, name: str) -> np.ndarray:
    """Earth, or mortar."""
    grain = 1 + 0.12 * grains(rng, 1.8) + 0.08 * waves(rng, 10)
    return colour(*_UNDER[name]) * grain[..., None]


def surface_of(name: str) -> tuple[partial[np.ndarray], partial[np.ndarray]]:
    return partial(draw, name=name), partial(under, name=name)
