"""Criteria by name."""

from __future__ import annotations

from methods.criteria.contract import Criterion
from methods.plugins import Registry

CRITERIA: Registry[Criterion] = Registry(
    "criterion",
    "tuner.criteria",
    modules=tuple(
        f"methods.criteria.{name}"
        for name in (
            "aligned",
            "alignment",
            "discordance",
            "dispersion",
            "reference",
            "referenced",
            "separation",
            "synthetic",
        )
    ),
)


def register_criterion(criterion: Criterion) -> Criterion:
    """Make a criterion known under its name. Raises ValueError for a name in use."""
    return CRITERIA.add(criterion.name, criterion)


def criterion_names() -> list[str]:
    """All names, sorted."""
    return CRITERIA.names()


def get_criterion(name: str) -> Criterion:
    """The criterion of that name; raises ValueError listing the known names."""
    return CRITERIA.get(name)
