"""Where the learning of an augmentation starts, as declared hyperparameters in natural units.

An augmentation is learned in the coordinates that suit a gradient (the logarithm of a size), but
people and samplers want the size itself. Every learned parameter therefore has a public name, the
same in the hyperparameter `initial_NAME` and in what a trial reports of its learning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from torch import Tensor

from methods.augmentation import Augmentation, augmentation_names, get_augmentation
from methods.augmentation.contract import Size
from methods.hyperparameter import Hyperparameter, Value, at

PREFIX = "initial_"
_LOGARITHM = "log_"
# Names that mean something else beside the augmentation.
_TAKEN = frozenset({"width", "steps"})
_NATURAL_HELP = {
    "log_size": "size of the patch as a share of the image's area",
    "log_ratio": "square root of the patch's aspect: 1 is a circle, above 1 is wide",
    "log_width": "half-width of the thread as a share of the root of the image's area",
    "log_length": "half-length of the thread as a share of the root of the image's area",
}


@dataclass(frozen=True)
class Coordinate:
    """One learned parameter: its name within the augmentation, and in public.

    `logarithmic` says that the learned number is the logarithm of the public one; `initial`
    declares the public one.
    """

    parameter: str
    name: str
    logarithmic: bool
    initial: Hyperparameter

    def public(self, learned: float) -> float:
        """The number in natural units, within the declared bounds."""
        value = math.exp(learned) if self.logarithmic else learned
        return _within(float(f"{value:.12g}"), self.initial)

    def learned(self, public: float) -> float:
        return math.log(public) if self.logarithmic else public


def _within(value: float, declared: Hyperparameter) -> float:
    assert declared.low is not None and declared.high is not None
    return min(max(value, declared.low), declared.high)


def _coordinate(augmentation: Augmentation, declared: Hyperparameter, prefix: str) -> Coordinate:
    member, _, own = declared.name.rpartition(".")
    logarithmic = own.startswith(_LOGARITHM)
    plain = own.removeprefix(_LOGARITHM)
    name = "_".join(part for part in (prefix, member, plain) if part).replace("-", "_")
    assert declared.low is not None and declared.high is not None

    def natural(value: float) -> float:
        return float(f"{math.exp(value):.10g}") if logarithmic else float(value)

    initial = replace(
        declared,
        name=PREFIX + name,
        default=natural(float(declared.default)),
        low=natural(declared.low),
        high=natural(declared.high),
        log=logarithmic,
        help="where learning starts: " + _NATURAL_HELP.get(own, declared.help),
        unit="" if logarithmic else declared.unit,
    )
    return Coordinate(declared.name, name, logarithmic, initial)


def _alike(one: Hyperparameter, other: Hyperparameter) -> bool:
    return (one.low, one.high, one.default) == (other.low, other.high, other.default)


@cache
def _all_coordinates() -> dict[str, tuple[Coordinate, ...]]:
    """The coordinates of every differentiable augmentation.

    Augmentations share a name where they declare the same numbers for it; the others carry the
    name of their augmentation.
    """
    known: dict[str, Hyperparameter] = {}
    found: dict[str, tuple[Coordinate, ...]] = {}
    for key in augmentation_names(differentiable=True):
        augmentation, coordinates = get_augmentation(key), []
        for declared in augmentation.hyperparameters:
            coordinate = _coordinate(augmentation, declared, "")
            seen = known.get(coordinate.name, coordinate.initial)
            if coordinate.name in _TAKEN or not _alike(seen, coordinate.initial):
                coordinate = _coordinate(augmentation, declared, augmentation.name)
            initial = known.setdefault(coordinate.name, coordinate.initial)
            coordinates.append(replace(coordinate, initial=initial))
        found[key] = tuple(coordinates)
    return found


def initial_hyperparameters() -> tuple[Hyperparameter, ...]:
    """`initial_NAME` for every learned parameter of every differentiable augmentation, once; each
    means nothing for the augmentations without that parameter."""
    every = _all_coordinates()
    declared = {c.name: c.initial for coordinates in every.values() for c in coordinates}
    without = {
        name: tuple(key for key, own in every.items() if name not in {c.name for c in own})
        for name in declared
    }
    return tuple(
        replace(initial, unless=(at(augmentation=without[name]),))
        for name, initial in declared.items()
    )


def coordinates_of(augmentation: Augmentation) -> tuple[Coordinate, ...]:
    """In the order of the augmentation's vector."""
    return _all_coordinates()[augmentation.name]


def start_vector(augmentation: Augmentation, values: Mapping[str, Value], size: Size) -> Tensor:
    """The vector `[k]`, float64, that `initial_` hyperparameters stand for.

    What images of `size` pixels cannot show is moved to the nearest that they can, as ST-SSAD's
    smallest initial patch needs on small images.
    """
    learned = {}
    for declared, coordinate in zip(
        augmentation.hyperparameters, coordinates_of(augmentation), strict=True
    ):
        value = coordinate.learned(float(values[PREFIX + coordinate.name]))
        learned[declared.name] = _within(value, declared)
    return augmentation.project(augmentation.vector(learned), size)


def usual_starts(augmentation: Augmentation) -> list[dict[str, Value]]:
    """The augmentation's own list of starts, as hyperparameters: ST-SSAD's four initial values."""
    names = {c.parameter: c for c in coordinates_of(augmentation)}
    return [
        as_start({names[key].name: names[key].public(value) for key, value in start.items()})
        for start in augmentation.starts or ({},)
    ]


def public_values(augmentation: Augmentation, vector: Tensor) -> dict[str, float]:
    """The learned numbers in natural units, by public name."""
    values = augmentation.values(vector)
    return {c.name: c.public(values[c.parameter]) for c in coordinates_of(augmentation)}


def as_start(tuned: Mapping[str, float]) -> dict[str, Value]:
    """The hyperparameters that start where a trial's learning ended."""
    return {PREFIX + name: value for name, value in tuned.items()}
