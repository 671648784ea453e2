"""A stone tile: chips of several colours in a pale ground."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from tuner.data.demo.fields import colour, grains, mixed, step, waves, white


def draw(rng: Generator, part: str) -> np.ndarray:
    """float32 `[256, 256, 3]`. The chips lie anew in every image."""
    ground = colour(0.64, 0.61, 0.56) * np.float32(rng.normal(1, 0.03))
    surface = ground * (1 + 0.03 * waves(rng, 3))[..., None]
    surface = mixed(surface, colour(0.72, 0.70, 0.66), step(grains(rng, 4.5), 0.75, 0.5))
    surface = mixed(surface, colour(0.54, 0.48, 0.43), step(grains(rng, 3.4), 1.2, 0.5))
    surface = mixed(surface, colour(0.40, 0.39, 0.39), step(grains(rng, 3.2), 1.6, 0.5))
    return surface * (1 + 0.035 * grains(rng, 1.5))[..., None]


def under(rng: Generator) -> np.ndarray:
    """Mortar: what shows where a piece has broken off."""
    grain = 1 + 0.10 * grains(rng, 1.2) + 0.06 * waves(rng, 9)
    return colour(0.47, 0.44, 0.41) * (grain + 0.02 * white(rng))[..., None]
