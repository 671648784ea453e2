"""Joins what a method declares with what a search-space file narrows and a user pins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from methods.contract import GridMethod, Method, Scoring, TuningMethod
from methods.hyperparameter import Condition, Hyperparameter, Value, by_name, complete, holds
from methods.naming import meant
from methods.scoring import tier
from search_spaces.loader import Choice, Distribution, SearchSpace


@dataclass(frozen=True)
class MethodSpace:
    """One method's part of a study.

    `drawn` goes to the sampler, `fixed` holds every other training hyperparameter, `grid` the
    scoring settings that each rung judges; the paper's default setting is always among them, at
    `default_setting`. `pinned` names what the user fixed. `siblings` are the points beside the
    defaults that start a self-tuning method from its other usual initial values; a point may give
    values that are not drawn, too. `unless` says by name where a drawn value means nothing: there
    it is not drawn, and a point leaves it out. A `control` is run once at its defaults, to compare
    with: nothing is drawn for it, and it cannot win. `each` names a drawn choice of which every
    value is tried at the defaults, and has a member in an ensemble; empty for none.
    """

    method: str
    drawn: Mapping[str, Distribution]
    fixed: Mapping[str, Value]
    defaults: Mapping[str, Value]
    grid: tuple[Scoring, ...]
    default_setting: int
    pinned: frozenset[str] = frozenset()
    siblings: tuple[Mapping[str, Value], ...] = ()
    unless: Mapping[str, tuple[Condition, ...]] = field(default_factory=dict)
    control: bool = False
    each: str = ""

    @property
    def starts(self) -> list[dict[str, Value]]:
        """The defaults under every other value of `each`."""
        choice = self.drawn.get(self.each)
        values = choice.values if isinstance(choice, Choice) else ()
        return [
            {**self.defaults, self.each: value}
            for value in values
            if not same(value, self.defaults[self.each])
        ]

    def complete(self, point: Mapping[str, Value]) -> dict[str, Value]:
        """Every training hyperparameter of a trial, from the drawn ones; the defaults of those
        that mean nothing at this point."""
        return {**self.fixed, **self.defaults, **point}

    def idle(self, name: str, point: Mapping[str, Value]) -> bool:
        """Whether a drawn hyperparameter means nothing at what is known of a point: what is drawn
        before it."""
        known = {**self.fixed, **point}
        return any(holds(condition, known) for condition in self.unless.get(name, ()))

    def alike(self, one: Mapping[str, Value], other: Mapping[str, Value]) -> bool:
        """Whether two points are equal in all that means anything."""
        return same_point(self._meant(one), self._meant(other))

    def _meant(self, point: Mapping[str, Value]) -> dict[str, Value]:
        return {name: value for name, value in point.items() if not self.idle(name, point)}

    def nearest(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The point of this space next to some hyperparameters; the others are at their defaults.

        What is drawn is moved into its range (a choice that is not offered becomes the default),
        what is pinned stays as the user wants it, what is neither is kept where it differs.
        """
        drawn = {
            name: _inside(distribution, values.get(name, default), default)
            for name, distribution in self.drawn.items()
            for default in (self.defaults[name],)
        }
        kept = {
            name: value
            for name, value in values.items()
            if name not in drawn and name not in self.pinned
            if not same(self.fixed.get(name), value)
        }
        return self._meant({**drawn, **kept})

    def variants(self) -> Iterator[dict[str, Value]]:
        """Hyperparameters of the defaults, and of the defaults with one value replaced: by every
        choice of what is chosen, by both ends of what ranges."""
        yield self.complete(self.defaults)
        for name, distribution in self.drawn.items():
            ends = (
                distribution.values
                if isinstance(distribution, Choice)
                else (distribution.low, distribution.high)
            )
            for value in ends:
                yield self.complete({**self.defaults, name: value})


def combinations(space: MethodSpace) -> Iterator[dict[str, Value]]:
    """Hyperparameters of either tier that trials of a space are made of: each of its `variants`
    with the default scoring setting, and with one value of that replaced by each that the grid
    has."""
    default = space.grid[space.default_setting]
    settings = [default]
    for name, value in dict.fromkeys(part for s in space.grid for part in s.items()):
        if not same(default.get(name), value):
            settings.append({**default, name: value})
    for values in space.variants():
        for setting in settings:
            yield {**values, **setting}


def same(one: Value | None, other: Value | None) -> bool:
    """Whether two values are equal, numbers up to the rounding of their way through a unit."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return one == other


def same_point(one: Mapping[str, Value], other: Mapping[str, Value]) -> bool:
    return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)


def families_of(method: Method, space: MethodSpace) -> frozenset[str]:
    """Names of the defect generators that any trial of a space may train on."""
    return frozenset[str]().union(*(method.families(values) for values in space.variants()))


def build_space(
    method: Method, space: SearchSpace, preset: str, pins: Mapping[str, object]
) -> MethodSpace:
    """Validate a search space against the declarations of its method.

    `preset` names the class of machine (`cpu`, `gpu`); `pins` are values that the user fixes, of
    either tier. What means nothing at any point of the space is not drawn. Raises ValueError for a
    range outside the declared bounds, a range that leaves out the default, an unknown name, or a
    pinned value outside its bounds.
    """
    declared = by_name(method.hyperparameters)
    pinned = {name: _known(declared, name).validate(value) for name, value in pins.items()}
    presets = dict(space.presets.get(preset, {}))
    for name, value in presets.items():
        _known(declared, name).validate(value)
    drawn = {}
    for name, distribution in space.training.items():
        parameter = _known(declared, name)
        if parameter.tier != "training":
            raise ValueError(f"{name} is a scoring hyperparameter; list it under scoring")
        _narrows(parameter, distribution, presets.get(name, parameter.default))
        if name not in pinned:
            drawn[name] = distribution
    given = {**presets, **pinned}
    defaults = complete(
        declared.values(),
        {n: v for n, v in given.items() if declared[n].tier == "training"},
        "training",
    )
    grid, default_setting = _grid(method, space.scoring, pinned)
    unless = _possible(method.hyperparameters, drawn, defaults)
    dead = {name for name, found in unless.items() if any(_always(c, drawn) for c in found)}
    drawn = _in_order({name: d for name, d in drawn.items() if name not in dead}, unless)
    built = MethodSpace(
        method=space.method,
        drawn=drawn,
        fixed={name: value for name, value in defaults.items() if name not in drawn},
        defaults={name: defaults[name] for name in drawn},
        grid=tuple(grid),
        default_setting=default_setting,
        pinned=frozenset(pinned),
        unless={name: unless[name] for name in drawn if unless[name]},
        each=space.each if space.each in drawn else "",
    )
    return replace(built, siblings=_siblings(method, built))


def _possible(
    declared: Sequence[Hyperparameter],
    drawn: Mapping[str, Distribution],
    fixed: Mapping[str, Value],
) -> dict[str, tuple[Condition, ...]]:
    """Of each drawn hyperparameter the conditions that some point of a space meets."""

    def meets(name: str, values: Sequence[Value]) -> bool:
        distribution = drawn.get(name)
        if distribution is None:
            return fixed.get(name) in values
        if isinstance(distribution, Choice):
            return any(value in values for value in distribution.values)
        return any(distribution.low <= float(value) <= distribution.high for value in values)

    return {
        p.name: tuple(c for c in p.unless if all(meets(*part) for part in c))
        for p in declared
        if p.name in drawn
    }


def _always(condition: Condition, drawn: Mapping[str, Distribution]) -> bool:
    """Whether every point of a space meets a condition that some point does."""
    choices = [(drawn[name], values) for name, values in condition if name in drawn]
    return all(isinstance(d, Choice) and set(d.values) <= set(values) for d, values in choices)


def _in_order(
    drawn: Mapping[str, Distribution], unless: Mapping[str, tuple[Condition, ...]]
) -> dict[str, Distribution]:
    """What is drawn, each after what its conditions ask for; else in the order of the file."""
    found: dict[str, Distribution] = {}

    def add(name: str, asking: frozenset[str]) -> None:
        for condition in unless.get(name, ()):
            for other, _ in condition:
                if other in drawn and other not in asking:
                    add(other, asking | {other})
        found.setdefault(name, drawn[name])

    for name in drawn:
        add(name, frozenset({name}))
    return found


def _siblings(method: Method, space: MethodSpace) -> tuple[Mapping[str, Value], ...]:
    """The usual starts of a self-tuning method within a space, those of its defaults left out."""
    found: list[Mapping[str, Value]] = []
    if isinstance(method, TuningMethod):
        for start in method.starts(space.complete(space.defaults)):
            point = space.nearest(start)
            if not any(space.alike(point, other) for other in (space.defaults, *found)):
                found.append(point)
    return tuple(found)


def _inside(distribution: Distribution, value: Value, default: Value) -> Value:
    if isinstance(distribution, Choice):
        return value if value in distribution.values else default
    moved = min(max(float(value), distribution.low), distribution.high)
    return round(moved) if distribution.integer else moved


def _known(declared: Mapping[str, Hyperparameter], name: str) -> Hyperparameter:
    if name not in declared:
        close = meant(name, declared)
        known = close or f"; known are: {', '.join(sorted(declared))}"
        raise ValueError(f"unknown hyperparameter {name}{known}")
    return declared[name]


def _narrows(parameter: Hyperparameter, distribution: Distribution, default: Value) -> None:
    values: Sequence[Value]
    if isinstance(distribution, Choice):
        values = distribution.values
        inside = default in values
    else:
        if parameter.choices:
            raise ValueError(f"{parameter.name} must be {parameter.bounds()}, not a range")
        values = (distribution.low, distribution.high)
        inside = distribution.low <= float(default) <= distribution.high
    for value in values:
        parameter.validate(value)
    if not inside:
        raise ValueError(
            f"the search range of {parameter.name} leaves out its default {default}; "
            "the defaults are every study's first trial, so widen the range"
        )


def _grid(
    method: Method,
    listed: Mapping[str, Sequence[Value]],
    pinned: Mapping[str, Value],
) -> tuple[list[Scoring], int]:
    scoring = {p.name: p for p in method.hyperparameters if p.tier == "scoring"}
    values: dict[str, Sequence[Value]] = {}
    for name, parameter in scoring.items():
        if name in pinned:
            values[name] = [pinned[name]]
        else:
            values[name] = [parameter.validate(v) for v in listed.get(name, [parameter.default])]
    unknown = sorted(set(listed) - set(scoring))
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is not a scoring hyperparameter")
    # Settings that mean the same are judged once.
    expand: Callable[[Mapping[str, Sequence[Value]]], list[dict[str, Value]]]
    if isinstance(method, GridMethod):
        expand = method.expand_grid
    else:
        expand = partial(tier.expand, method.hyperparameters)
    grid: list[Scoring] = list(expand(values))
    default = {name: [pinned.get(name, p.default)] for name, p in scoring.items()}
    [wanted] = expand(default)
    if wanted not in grid:
        grid.append(wanted)
    return grid, grid.index(wanted)
