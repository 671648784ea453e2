"""Normal images in two, and the test batch in an order that says nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tuner.data.errors import DataError
from tuner.data.preparation import Prepared

FEWEST_NORMALS = 4
FEWEST_HELD_OUT = 2


@dataclass(frozen=True)
class Split:
    """What a study hands to its trials, all uint8 `[., 3, H, W]` copies.

    `held_out` are normal images kept from training. `test[i]` is image `test_order[i]` of the
    prepared test batch.
    """

    train: np.ndarray = field(repr=False)
    held_out: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)
    test_order: np.ndarray = field(repr=False)


def held_out(normals: int, share: float) -> int:
    """How many of the normal images are kept from training."""
    return max(FEWEST_HELD_OUT, round(share * normals))


def split(prepared: Prepared, seed: int, held_out_share: float = 0.15) -> Split:
    """Shuffle by `seed` and keep a share of the normal images (at least 2) from training.

    Raises DataError with fewer than 4 normal images, a share outside (0, 0.5] or a negative seed.
    """
    count = len(prepared.train)
    if seed < 0:
        raise DataError(f"the seed is {seed}, but must be 0 or more")
    if not 0 < held_out_share <= 0.5:
        raise DataError(f"the held-out share is {held_out_share}, but must be above 0, at most 0.5")
    if count < FEWEST_NORMALS:
        raise DataError(
            f"category {prepared.category} has {count} different normal images, but at least "
            f"{FEWEST_NORMALS} are needed (some are kept from training to set thresholds); add more"
        )
    kept = held_out(count, held_out_share)
    normals = np.random.default_rng([seed, 0]).permutation(count)
    order = np.random.default_rng([seed, 1]).permutation(len(prepared.test))
    return Split(
        train=np.array(prepared.train[normals[kept:]]),
        held_out=np.array(prepared.train[normals[:kept]]),
        test=np.array(prepared.test[order]),
        test_order=order,
    )
