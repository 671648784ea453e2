"""A welded wire mesh over a dark ground."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from tuner.data.demo.fields import colour, grains, mixed, step, turned, waves

PITCH = 38.0
WIRE = 5.0
"""Half the width of a wire."""


def draw(rng: Generator, part: str) -> np.ndarray:
    """float32 `[256, 256, 3]`. Position, turn and straightness of the wires differ."""
    shift = (float(rng.uniform(0, PITCH)), float(rng.uniform(0, 2 * PITCH)))
    u, v = turned(np.pi / 4 + float(rng.normal(0, 0.02)), shift)
    pitch, wire = PITCH * float(rng.normal(1, 0.01)), WIRE * float(rng.normal(1, 0.04))
    first = _wires(u + 1.0 * waves(rng, 4), pitch) / np.float32(wire)
    second = _wires(v + 1.0 * waves(rng, 4), pitch) / np.float32(wire)
    first_on_top = (np.floor(u / pitch + 0.5) + np.floor(v / pitch + 0.5)) % 2 == 0
    metal = colour(0.66, 0.67, 0.69) * np.float32(rng.normal(1, 0.04))
    drawn = 1 + 0.05 * grains(rng, 1.5) + 0.04 * waves(rng, 5)
    surface = under(rng)
    for off in (np.where(first_on_top, second, first), np.where(first_on_top, first, second)):
        # A shadow on what lies below, then the wire itself, brighter towards the light.
        surface = surface * (1 - 0.35 * step(1.5 - np.abs(off - 0.5), 0.0, 0.8))[..., None]
        shine = np.sqrt(np.clip(1 - off**2, 0.05, 1)) - 0.22 * off
        wires = metal * (np.clip(shine, 0.1, 1.15) * drawn)[..., None]
        surface = mixed(surface, wires, step(1 - np.abs(off), 0.0, 0.3))
    return surface


def under(rng: Generator) -> np.ndarray:
    """The ground behind the mesh."""
    depth = 1 + 0.08 * waves(rng, 4) + 0.06 * grains(rng, 2.0)
    return colour(0.17, 0.16, 0.16) * depth[..., None]


def _wires(position: np.ndarray, pitch: float) -> np.ndarray:
    """Signed distance to the nearest wire."""
    return position - np.float32(pitch) * np.floor(position / np.float32(pitch) + np.float32(0.5))
