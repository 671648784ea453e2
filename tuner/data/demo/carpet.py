"""A woven carpet: two yarns, over and under one another in a twill."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from tuner.data.demo.fields import colour, drawn_out, grains, turned, waves, white

PITCH = 17.0
_YARNS = 64


def draw(rng: Generator, part: str) -> np.ndarray:
    """float32 `[256, 256, 3]`. Position, turn and slack of the yarns differ between images."""
    shift = (float(rng.uniform(0, 40 * PITCH)), float(rng.uniform(0, 40 * PITCH)))
    u, v = turned(float(rng.normal(0, 0.02)), shift)
    u = (u + 1.6 * waves(rng, 4)) / np.float32(PITCH)
    v = (v + 1.6 * waves(rng, 4)) / np.float32(PITCH)
    column, row = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    across, along = u - column - 0.5, v - row - 0.5
    over = (column + row) % 4 < 2
    round_warp = 1 - 2.2 * across**2 - 0.5 * along**2
    round_weft = 1 - 2.2 * along**2 - 0.5 * across**2
    # Fibres run along their yarn.
    lengthwise, crosswise = _fibres(rng), _fibres(rng).T
    spread = rng.normal(1, 0.05, (2, _YARNS)).astype(np.float32)
    warp = round_warp * (1 + 0.16 * lengthwise) * spread[0][column % _YARNS]
    weft = round_weft * (1 + 0.16 * crosswise) * spread[1][row % _YARNS]
    dye = np.float32(rng.normal(1, 0.03))
    surface = np.where(
        over[..., None],
        colour(0.52, 0.55, 0.60) * warp[..., None],
        colour(0.30, 0.31, 0.37) * weft[..., None],
    )
    return surface * dye * (1 + 0.03 * waves(rng, 3))[..., None]


def under(rng: Generator) -> np.ndarray:
    """The jute backing."""
    u, v = turned(float(rng.normal(0, 0.03)), (0.0, 0.0))
    weave = 0.9 + 0.1 * np.sin(u * np.float32(0.7)) * np.sin(v * np.float32(0.7))
    return colour(0.56, 0.46, 0.33) * (weave + 0.08 * grains(rng, 1.0))[..., None]


def _fibres(rng: Generator) -> np.ndarray:
    return drawn_out(white(rng, 43, 128))
