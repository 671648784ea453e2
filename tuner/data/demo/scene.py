"""One demo image from its seed: surface, perhaps a defect, and the photograph of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, default_rng

from tuner.data.demo.camera import draw_light, photograph
from tuner.data.demo.catalogue import DEFECTIVE, GOOD, SEED, SURFACES, TRAIN
from tuner.data.demo.defects import KINDS


@dataclass(frozen=True)
class Scene:
    """uint8 `[256, 256, 3]`; `defect` is empty for a good image, and then nothing is masked."""

    image: np.ndarray
    defect: str
    mask: np.ndarray


def training_image(category: str, index: int) -> np.ndarray:
    """A normal image, uint8 `[256, 256, 3]`; `index` is below `TRAIN`."""
    rng = _stream(category, 0, index)
    surface = SURFACES[category][0](rng, "train")
    return photograph(surface, draw_light(rng), rng)


def batch_scene(category: str, slot: int) -> Scene:
    """One image of the unlabelled batch with its truth; good and bad slots are shuffled."""
    number = int(_stream(category, 2, 0).permutation(GOOD + DEFECTIVE)[slot])
    rng = _stream(category, 1, number)
    draw, under = SURFACES[category]
    surface = draw(rng, "test")
    light = draw_light(rng)
    mask, defect = np.zeros(surface.shape[:2], bool), ""
    if number >= GOOD:
        # Kinds take turns, and each kind runs evenly from hard to see to obvious.
        turn, kind = divmod(number - GOOD, len(KINDS))
        defect = tuple(KINDS)[kind]
        strength = (turn + float(rng.random())) / -(-DEFECTIVE // len(KINDS))
        surface, mask = KINDS[defect](rng, surface, under, light.angle, strength)
    return Scene(photograph(surface, light, rng), defect, mask)


def batch_image(category: str, slot: int) -> np.ndarray:
    """The image of a slot without its truth, uint8 `[256, 256, 3]`."""
    return batch_scene(category, slot).image


def counts() -> tuple[int, int]:
    """Training images and images in the unlabelled batch."""
    return TRAIN, GOOD + DEFECTIVE


def _stream(category: str, stage: int, number: int) -> Generator:
    return default_rng([SEED, *category.encode(), stage, number])
