"""Normal images in two, and the test batch in an order that says nothing."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from tuner.data.errors import DataError
from tuner.data.preparation import Prepared

FEWEST_NORMALS = 4
FEWEST_HELD_OUT = 2
FEW_UNLABELLED = 20


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


def cautions(normals: int, unlabelled: int, share: float, rate: float) -> list[str]:
    """What to warn of before anything is trained, by numbers of images alone."""
    said = [few] if (few := too_few(normals, share, rate)) else []
    if unlabelled < FEW_UNLABELLED:
        said.append(
            f"{unlabelled} unlabelled image{'s are' if unlabelled != 1 else ' is'} few to choose "
            f"a detector by; {FEW_UNLABELLED} or more, good and bad, tell trials apart"
        )
    return said


def too_few(normals: int, share: float, rate: float) -> str:
    """What to say where the normals that are kept from training cannot support a false-positive
    rate, with what would; empty where they can."""
    kept = held_out(normals, share)
    if _supports(kept, rate):
        return ""
    enough = next(
        count for count in itertools.count(normals) if _supports(held_out(count, share), rate)
    )
    lowest = math.ceil(1e3 / (kept + 1)) / 1e3
    cures = [f"{enough} normal images would", f"--false-positive-rate {lowest:g} is possible"]
    wanted = next((n for n in range(kept, normals // 2 + 1) if _supports(n, rate)), None)
    if wanted is not None:
        cures.insert(1, f"--held-out {math.ceil(100 * wanted / normals) / 100:g} would, too")
    return (
        f"{normals} normal images are few: the {kept} of them that are kept from training support "
        f"a false-positive rate of {1 / (kept + 1):.2g}, not {rate:g}; {'; '.join(cures)}"
    )


def _supports(kept: int, rate: float) -> bool:
    return (kept + 1) * rate >= 1 - 1e-12


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
