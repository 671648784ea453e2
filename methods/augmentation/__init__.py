"""Augmentations that turn normal images into pseudo-anomalies: drawn, then applied."""

from methods.augmentation.contract import Augmentation, Draw
from methods.augmentation.registry import (
    augmentation_names,
    get_augmentation,
    register_augmentation,
)

__all__ = [
    "Augmentation",
    "Draw",
    "augmentation_names",
    "get_augmentation",
    "register_augmentation",
]
