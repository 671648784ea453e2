"""Hyperparameters that many trainings have."""

from __future__ import annotations

from methods.hyperparameter import Hyperparameter


def steps(default: int, source: str = "ours") -> Hyperparameter:
    return Hyperparameter(
        "steps", default, "training steps", low=1, high=200_000, log=True, source=source
    )


def batch_size(default: int, source: str = "ours") -> Hyperparameter:
    return Hyperparameter(
        "batch_size",
        default,
        "normal images in a step, over all workers",
        low=2,
        high=1024,
        log=True,
        unit="images",
        source=source,
    )


def learning_rate(default: float, source: str) -> Hyperparameter:
    return Hyperparameter(
        "learning_rate",
        default,
        "step size at its highest",
        low=1e-6,
        high=1.0,
        log=True,
        symbol="α",
        source=source,
    )


def weight_decay(default: float, source: str) -> Hyperparameter:
    return Hyperparameter("weight_decay", default, "weight decay", low=0.0, high=0.1, source=source)
