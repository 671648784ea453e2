"""Tune visual anomaly detectors without labels.

    import tuner

    summary = tuner.launch("tile", budget=50)
    tuner.status(), tuner.report(), tuner.audit()
    tuner.promote("tile")
    tuner.load("tile@champion").predict("part.png")

Everything is imported on first use: `import tuner` costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.api import (
        audit,
        compare,
        history,
        launch,
        load,
        predict,
        promote,
        report,
        resume,
        retire,
        status,
    )

    __version__: str

__all__ = [
    "audit",
    "compare",
    "history",
    "launch",
    "load",
    "predict",
    "promote",
    "report",
    "resume",
    "retire",
    "status",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("tuner")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("tuner.api"), name)


class _Package(ModuleType):
    """This package. Its modules `report` and `status` do not take the place of the functions of the
    same name when they are imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
