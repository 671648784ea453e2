"""Where images come from and how they become arrays. Labels have a module of their own.

Everything here is imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.data.checking import CategoryReport, CheckReport, check
    from tuner.data.errors import DataError
    from tuner.data.opening import open_source
    from tuner.data.preparation import Prepared, prepare
    from tuner.data.source import Item, Listing, Source
    from tuner.data.splitting import Split, split
    from tuner.data.textures import load_textures

_HOMES = {
    "CategoryReport": "checking",
    "CheckReport": "checking",
    "DataError": "errors",
    "Item": "source",
    "Listing": "source",
    "Prepared": "preparation",
    "Source": "source",
    "Split": "splitting",
    "check": "checking",
    "load_textures": "textures",
    "open_source": "opening",
    "prepare": "preparation",
    "split": "splitting",
}

RECIPE = 3
"""How files become pixels; kept by studies and packages, which go on as they began. 2 leaves alpha
out, takes the first of several pages, and scales 16-bit samples by the largest of all."""

__all__ = [
    "RECIPE",
    "CategoryReport",
    "CheckReport",
    "DataError",
    "Item",
    "Listing",
    "Prepared",
    "Source",
    "Split",
    "check",
    "load_textures",
    "open_source",
    "prepare",
    "split",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
