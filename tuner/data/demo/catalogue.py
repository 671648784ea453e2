"""Which demo categories there are, and how many images each has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from tuner.data.demo import carpet, grid, photographs, tile

TRAIN, GOOD, DEFECTIVE = 96, 40, 40
SEED = 20

Draw = Callable[..., np.ndarray]

SURFACES: dict[str, tuple[Draw, Callable[[Generator], np.ndarray]]] = {
    "tile": (tile.draw, tile.under),
    "carpet": (carpet.draw, carpet.under),
    "grid": (grid.draw, grid.under),
    "gravel": photographs.surface_of("gravel"),
    "brick": photographs.surface_of("brick"),
    "grass": photographs.surface_of("grass"),
}


def names() -> list[str]:
    return sorted(SURFACES)
