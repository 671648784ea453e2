"""Tune visual anomaly detectors without labels; see `tuner.api` for what each function does.

Everything is imported on first use: `import tuner` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.api import audit, compare, history, launch, load, predict, promote, resume, retire

__all__ = [
    "audit",
    "compare",
    "history",
    "launch",
    "load",
    "predict",
    "promote",
    "resume",
    "retire",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("tuner.api"), name)
