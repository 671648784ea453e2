"""Versions of what a result depends on."""

from __future__ import annotations

from importlib.metadata import version


def versions() -> dict[str, str]:
    """The installed versions, by package."""
    return {name: version(name) for name in ("tuner", "torch", "ray", "optuna", "mlflow")}
