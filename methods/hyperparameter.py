"""The one place where a hyperparameter is described.

Validation, default search ranges, `tuner list`, the documentation and the report all read the same
declaration; a search space may narrow its bounds but never widen them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Value = float | int | str | bool
Tier = Literal["training", "scoring"]
# Holds where each of the named hyperparameters has one of the values beside it.
Condition = tuple[tuple[str, tuple[Value, ...]], ...]


def at(**values: Value | tuple[Value, ...]) -> Condition:
    """The condition that each of these hyperparameters has this value, or one of these."""
    return tuple((name, v if isinstance(v, tuple) else (v,)) for name, v in values.items())


def holds(condition: Condition, values: Mapping[str, Value]) -> bool:
    """Whether a condition is known to hold; a hyperparameter without a value is unknown."""
    return all(name in values and values[name] in among for name, among in condition)


@dataclass(frozen=True)
class Hyperparameter:
    """Name, meaning, bounds and origin of one number or choice of a method.

    `low` and `high` are inclusive hard bounds of a number; `choices` lists the values of anything
    else, and `prefixes` how further ones may begin (as in `file:PATH`). `symbol` is the letter that
    the paper uses and `source` says where the default comes from. The tier is `training` where
    another value means training again, `scoring` where it only changes what is done with a trained
    network's output. Where one of the conditions in `unless` holds, it means nothing: nothing that
    is trained or scored depends on it.
    """

    name: str
    default: Value
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Value, ...] = ()
    prefixes: tuple[str, ...] = ()
    log: bool = False
    unit: str = ""
    symbol: str = ""
    source: str = "ours"
    tier: Tier = "training"
    unless: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        numeric = self.low is not None and self.high is not None
        if numeric == bool(self.choices):
            raise ValueError(f"{self.name}: declare either low and high, or choices")
        if self.log and not (self.low is not None and self.low > 0):
            raise ValueError(f"{self.name}: a logarithmic range needs low > 0, got {self.low}")
        self.validate(self.default)

    @property
    def integer(self) -> bool:
        return not self.choices and isinstance(self.default, int)

    def validate(self, value: object) -> Value:
        """Return `value` in the declared type, or raise ValueError naming value, bound and cure."""
        if self.choices:
            for choice in self.choices:
                if value == choice and isinstance(value, bool) == isinstance(choice, bool):
                    return choice
            if isinstance(value, str) and any(
                value.startswith(prefix) and value != prefix for prefix in self.prefixes
            ):
                return value
            raise ValueError(f"{self.name} is {value!r}, but must be {self.bounds()}")
        assert self.low is not None and self.high is not None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{self.name} is {value!r}, but must be {self.bounds()}")
        if self.integer and value != int(value):
            raise ValueError(f"{self.name} is {value}, but must be a whole number")
        if not (math.isfinite(value) and self.low <= value <= self.high):
            raise ValueError(f"{self.name} is {value}, but must be {self.bounds()}")
        return int(value) if self.integer else float(value)

    def bounds(self) -> str:
        """The allowed values in words."""
        if self.choices:
            named = [str(choice) for choice in self.choices]
            return "one of: " + ", ".join(named + [f"{prefix}..." for prefix in self.prefixes])
        unit = f" ({self.unit})" if self.unit else ""
        kind = "a whole number" if self.integer else "a number"
        return f"{kind} from {self.low:g} to {self.high:g}{unit}"


def by_name(declared: Iterable[Hyperparameter]) -> dict[str, Hyperparameter]:
    return {parameter.name: parameter for parameter in declared}


def complete(
    declared: Iterable[Hyperparameter], given: Mapping[str, object], tier: Tier | None = None
) -> dict[str, Value]:
    """Fill in defaults and validate; with `tier`, only hyperparameters of that tier.

    Raises ValueError for a name that is not declared or a value outside its bounds.
    """
    known = {p.name: p for p in declared if tier is None or p.tier == tier}
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(
            f"unknown hyperparameter {', '.join(unknown)}; known are: {', '.join(sorted(known))}"
        )
    return {name: p.validate(given.get(name, p.default)) for name, p in known.items()}
