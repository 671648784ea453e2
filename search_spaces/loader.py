"""Reads and checks the search-space files; knows no engine and no method.

A file narrows what a method declares: which training hyperparameters the sampler draws and from
where, which scoring values form the grid, and which values a class of machine pins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

Value = float | int | str | bool

# Of the scoring values of all spaces: the second has map normalisation and border.
EDITION = 2


class SearchSpaceError(ValueError):
    """A search-space file that says something impossible."""


@dataclass(frozen=True)
class Range:
    """Numbers from low to high inclusive; whole ones where `integer`."""

    low: float
    high: float
    log: bool = False
    integer: bool = False


@dataclass(frozen=True)
class Choice:
    """One of a few values, without an order."""

    values: tuple[Value, ...]


Distribution = Range | Choice


@dataclass(frozen=True)
class SearchSpace:
    """What a study draws (`training`), judges as a grid (`scoring`) and pins (`presets`).

    `earlier` are the scoring values of studies that began before the present ones: what a trial
    kept of each setting is told apart by the setting's place in the grid. `each` names a choice of
    which every value is tried at the defaults, and has a member in an ensemble; empty for none.
    """

    method: str
    title: str
    training: Mapping[str, Distribution]
    scoring: Mapping[str, tuple[Value, ...]]
    presets: Mapping[str, Mapping[str, Value]]
    earlier: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    each: str = ""

    def as_begun(self, edition: int) -> SearchSpace:
        """As studies of an edition of the scoring values began with it."""
        if edition == EDITION:
            return self
        return replace(self, scoring={**self.scoring, **self.earlier})


def space_names() -> list[str]:
    """Names of the spaces that come with the package."""
    folder = resources.files("search_spaces")
    return sorted(
        p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml")
    )


def load_search_space(name: str) -> SearchSpace:
    """Read a space by its name, or by the path of a YAML file.

    Raises SearchSpaceError for an unknown name or a file that does not parse or validate.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise SearchSpaceError(f"search space {name!r} is not a file")
        return parse(path.read_text(), name)
    known = space_names()
    if name not in known:
        raise SearchSpaceError(f"search space is {name!r}, but must be one of: {', '.join(known)}")
    return parse((resources.files("search_spaces") / f"{name}.yaml").read_text(), name)


def parse(text: str, origin: str) -> SearchSpace:
    """Turn YAML into a SearchSpace; `origin` names the file in errors."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SearchSpaceError(f"search space {origin} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise SearchSpaceError(f"search space {origin} must be a mapping")
    allowed = {"method", "title", "training", "each", "scoring", "earlier", "presets"}
    unknown = sorted(set(content) - allowed)
    if unknown:
        raise SearchSpaceError(
            f"search space {origin} has {', '.join(unknown)}, "
            f"but only these are known: {', '.join(sorted(allowed))}"
        )
    if not content.get("method"):
        raise SearchSpaceError(f"search space {origin} does not say its method")
    training = {
        name: _distribution(name, value, origin)
        for name, value in _section(content, "training", origin).items()
    }
    each = str(content.get("each", ""))
    if each and not isinstance(training.get(each), Choice):
        raise SearchSpaceError(
            f"each is {each!r} in search space {origin}, but must name a list under training"
        )
    return SearchSpace(
        method=str(content["method"]),
        title=str(content.get("title", content["method"])),
        training=training,
        scoring=_lists(content, "scoring", origin),
        earlier=_lists(content, "earlier", origin),
        presets={
            name: _section(content["presets"], name, origin)
            for name in _section(content, "presets", origin)
        },
        each=each,
    )


def _section(content: Mapping[str, Any], name: str, origin: str) -> dict[str, Any]:
    section = content.get(name) or {}
    if not isinstance(section, dict):
        raise SearchSpaceError(f"{name} in search space {origin} must be a mapping")
    return section


def _lists(content: Mapping[str, Any], name: str, origin: str) -> dict[str, tuple[Value, ...]]:
    section = _section(content, name, origin)
    return {name: _values(name, value, origin) for name, value in section.items()}


def _values(name: str, value: Any, origin: str) -> tuple[Value, ...]:
    if not isinstance(value, list) or not value:
        raise SearchSpaceError(f"{name} in search space {origin} must be a list of values")
    return tuple(value)


def _distribution(name: str, value: Any, origin: str) -> Distribution:
    if isinstance(value, list):
        return Choice(_values(name, value, origin))
    if not isinstance(value, dict) or not {"low", "high"} <= set(value) <= {"low", "high", "log"}:
        raise SearchSpaceError(
            f"{name} in search space {origin} must be a list, or low, high and perhaps log"
        )
    low, high, log = value["low"], value["high"], bool(value.get("log", False))
    numbers = all(isinstance(v, int | float) and math.isfinite(v) for v in (low, high))
    if not numbers or low >= high or (log and low <= 0):
        raise SearchSpaceError(
            f"{name} in search space {origin} goes from {low} to {high}; "
            "low must be below high, and above 0 on a logarithmic scale"
        )
    return Range(low, high, log, isinstance(low, int) and isinstance(high, int))
