"""The packaged model and its way into the registry. Everything is imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.registry.export import Export, export_onnx, read_export
    from tuner.registry.package import (
        Package,
        PackagedDetector,
        PackageError,
        Trained,
        calibrate,
        load_package,
        read_package,
        save_package,
        threshold_of,
    )
    from tuner.registry.register import RegisteredVersion, RegistryError, register_winner
    from tuner.registry.threshold import Threshold, find_threshold, quantile_threshold

_HOMES = {
    "Export": "export",
    "Package": "package",
    "PackageError": "package",
    "PackagedDetector": "package",
    "RegisteredVersion": "register",
    "RegistryError": "register",
    "Threshold": "threshold",
    "Trained": "package",
    "calibrate": "package",
    "export_onnx": "export",
    "find_threshold": "threshold",
    "load_package": "package",
    "quantile_threshold": "threshold",
    "read_export": "export",
    "read_package": "package",
    "register_winner": "register",
    "save_package": "package",
    "threshold_of": "package",
}

__all__ = [
    "Export",
    "Package",
    "PackageError",
    "PackagedDetector",
    "RegisteredVersion",
    "RegistryError",
    "Threshold",
    "Trained",
    "calibrate",
    "export_onnx",
    "find_threshold",
    "load_package",
    "quantile_threshold",
    "read_export",
    "read_package",
    "register_winner",
    "save_package",
    "threshold_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
