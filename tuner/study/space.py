"""Joins what a method declares with what a search-space file narrows and a user pins."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from methods.contract import GridMethod, Method, Scoring
from methods.hyperparameter import Hyperparameter, Value, by_name, complete
from methods.scoring.pipeline import SCORING, expand_grid
from search_spaces.loader import Choice, Distribution, SearchSpace


@dataclass(frozen=True)
class MethodSpace:
    """One method's part of a study.

    `drawn` goes to the sampler, `fixed` holds every other training hyperparameter, `grid` the
    scoring settings that each rung judges; the paper's default setting is always among them, at
    `default_setting`.
    """

    method: str
    drawn: Mapping[str, Distribution]
    fixed: Mapping[str, Value]
    defaults: Mapping[str, Value]
    grid: tuple[Scoring, ...]
    default_setting: int

    def complete(self, point: Mapping[str, Value]) -> dict[str, Value]:
        """Every training hyperparameter of a trial, from the drawn ones."""
        return {**self.fixed, **point}


def build_space(
    method: Method, space: SearchSpace, preset: str, pins: Mapping[str, object]
) -> MethodSpace:
    """Validate a search space against the declarations of its method.

    `preset` names the class of machine (`cpu`, `gpu`); `pins` are values that the user fixes, of
    either tier. Raises ValueError for a range outside the declared bounds, a range that leaves out
    the default, an unknown name, or a pinned value outside its bounds.
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
    return MethodSpace(
        method=space.method,
        drawn=drawn,
        fixed={name: value for name, value in defaults.items() if name not in drawn},
        defaults={name: defaults[name] for name in drawn},
        grid=tuple(grid),
        default_setting=default_setting,
    )


def _known(declared: Mapping[str, Hyperparameter], name: str) -> Hyperparameter:
    if name not in declared:
        raise ValueError(f"unknown hyperparameter {name}; known are: {', '.join(sorted(declared))}")
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
    # Settings that mean the same are judged once, where it is known what they mean.
    expand: Callable[[Mapping[str, Sequence[Value]]], list[dict[str, Value]]] = _product
    if isinstance(method, GridMethod):
        expand = method.expand_grid
    elif set(values) == {parameter.name for parameter in SCORING}:
        expand = expand_grid
    grid: list[Scoring] = list(expand(values))
    default = {name: [pinned.get(name, p.default)] for name, p in scoring.items()}
    [wanted] = expand(default)
    if wanted not in grid:
        grid.append(wanted)
    return grid, grid.index(wanted)


def _product(values: Mapping[str, Sequence[Value]]) -> list[dict[str, Value]]:
    return [dict(zip(values, v, strict=True)) for v in itertools.product(*values.values())]
