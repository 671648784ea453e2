"""A stone tile: chips of several colours in a pale ground."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from tuner.data.demo.fields import colour, grains, mixed, step, waves, white


def draw(rng: Generator, part: str) -> np.ndarray:
    """float32 `[256, 256, 3]`. The chips lie anew in every image."""
    ground = colour(0.66, 0.62, 0.56) * np.float32(rng.normal(1, 0.03))
    tone = 1 + 0.03 * waves(rng, 3)
    surface = ground * tone[..., None]
    fine = grains(rng, 1.6)
    surface = mixed(surface, colour(0.80, 0.77, 0.72), step(grains(rng, 4.5), 0.75, 0.35))
    surface = mixed(surface, colour(0.46, 0.37, 0.31), step(grains(rng, 3.6), 1.25, 0.35))
    surface = mixed(surface, colour(0.22, 0.21, 0.22), step(grains(rng, 4.2), 1.45, 0.3))
    return surface * (1 + 0.05 * fine)[..., None]


def under(rng: Generator) -> np.ndarray:
    """Mortar: what shows where a piece has broken off."""
    grain = 1 + 0.10 * grains(rng, 1.2) + 0.06 * waves(rng, 9)
    return colour(0.47, 0.44, 0.41) * (grain + 0.02 * white(rng))[..., None]
