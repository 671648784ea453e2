"""From a surface to a photograph of it: light, tone and sensor noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from tuner.data.demo.fields import NATIVE, coordinates, white


@dataclass(frozen=True)
class Light:
    """Where light comes from (radians) and how strong, uneven and coloured it is."""

    angle: float
    level: float
    slope: float
    falloff: float
    tone: tuple[float, float, float]


def draw_light(rng: Generator) -> Light:
    """One shot's light, as it varies from part to part."""
    red, green, blue = rng.normal(1, 0.01, 3)
    return Light(
        angle=float(rng.uniform(0, 2 * np.pi)),
        level=float(rng.uniform(0.86, 1.1)),
        slope=float(rng.uniform(0, 0.14)),
        falloff=float(rng.uniform(0, 0.1)),
        tone=(float(red), float(green), float(blue)),
    )


def photograph(reflectance: np.ndarray, light: Light, rng: Generator) -> np.ndarray:
    """float `[256, 256, 3]` reflectance in [0, 1] to uint8 `[256, 256, 3]`."""
    row, column = coordinates()
    half = NATIVE / 2
    across = (np.cos(light.angle) * column + np.sin(light.angle) * row) / half
    radius = (row**2 + column**2) / half**2
    shading = light.level * (1 + light.slope * across - light.falloff * radius)
    shaded = reflectance * shading.astype(np.float32)[..., None]
    shaded *= np.array(light.tone, np.float32)
    # Shot noise grows with the signal; a floor stands for the read-out.
    noise = white(rng, NATIVE, NATIVE, 3) * (0.010 + 0.012 * shaded)
    return np.rint(np.clip(shaded + noise, 0, 1) * 255).astype(np.uint8)
