"""Augmentations by name."""

from __future__ import annotations

from methods.augmentation.contract import Augmentation
from methods.plugins import Registry

AUGMENTATIONS: Registry[Augmentation] = Registry(
    "augmentation",
    "tuner.corruptions",
    {
        "cutdiff": "methods.augmentation.cutdiff:CUTDIFF",
        "cutdiff-cholesky": "methods.augmentation.cutdiff:CUTDIFF_CHOLESKY",
        "cutdiff-coloured": "methods.augmentation.cutdiff:CUTDIFF_COLOURED",
        "cutdiff-signed": "methods.augmentation.cutdiff:CUTDIFF_SIGNED",
        "cutout": "methods.augmentation.cutout:CUTOUT",
        "cutpaste": "methods.augmentation.cutpaste:CUTPASTE",
        "cutpaste-scar": "methods.augmentation.cutpaste:CUTPASTE_SCAR",
        "mixture": "methods.augmentation.mixture:MIXTURE",
        "rotation": "methods.augmentation.rotation:ROTATION",
        "texture-blend": "methods.augmentation.blend:BLEND",
        "thread": "methods.augmentation.thread:THREAD",
    },
)


def register_augmentation(augmentation: Augmentation) -> Augmentation:
    """Make an augmentation known under its name. Raises ValueError for a name in use."""
    return AUGMENTATIONS.add(augmentation.name, augmentation)


def augmentation_names(differentiable: bool | None = None) -> list[str]:
    """All names, or only those that are (or are not) differentiable in their parameters."""
    names = AUGMENTATIONS.names()
    if differentiable is None:
        return names
    return [name for name in names if AUGMENTATIONS.get(name).differentiable == differentiable]


def get_augmentation(name: str, differentiable: bool = False) -> Augmentation:
    """The augmentation of that name.

    Raises ValueError for an unknown name and, where `differentiable` is asked for, for one without
    gradients in its parameters.
    """
    found = AUGMENTATIONS.get(name)
    if differentiable and not found.differentiable:
        raise ValueError(
            f"augmentation is {name!r}, which cannot be learned by gradient; one of these can:"
            f" {', '.join(augmentation_names(True))}"
        )
    return found
