"""Criteria by name."""

from __future__ import annotations

from methods.criteria.contract import Criterion
from methods.naming import unknown

_CRITERIA: dict[str, Criterion] = {}


def register_criterion(criterion: Criterion) -> Criterion:
    """Make a criterion known under its name. Raises ValueError for a name in use."""
    if criterion.name in _CRITERIA:
        raise ValueError(f"a criterion named {criterion.name!r} is registered already")
    _CRITERIA[criterion.name] = criterion
    return criterion


def load_builtin() -> None:
    """Import every criterion of this package once."""
    from methods.criteria import (  # noqa: F401
        aligned,
        alignment,
        discordance,
        dispersion,
        reference,
        referenced,
        separation,
        synthetic,
    )


def criterion_names() -> list[str]:
    load_builtin()
    return sorted(_CRITERIA)


def get_criterion(name: str) -> Criterion:
    """The criterion registered under `name`; raises ValueError listing the known names."""
    load_builtin()
    if name not in _CRITERIA:
        raise ValueError(unknown("criterion", name, _CRITERIA))
    return _CRITERIA[name]
