"""Augmentations by name."""

from __future__ import annotations

from methods.augmentation.contract import Augmentation

_AUGMENTATIONS: dict[str, Augmentation] = {}


def register_augmentation(augmentation: Augmentation) -> Augmentation:
    """Make an augmentation known under its name. Raises ValueError for a name in use."""
    if augmentation.name in _AUGMENTATIONS:
        raise ValueError(f"an augmentation named {augmentation.name!r} is registered already")
    _AUGMENTATIONS[augmentation.name] = augmentation
    return augmentation


def load_builtin() -> None:
    """Import every module of this folder that registers one."""
    import methods.augmentation.blend
    import methods.augmentation.cutdiff
    import methods.augmentation.cutout
    import methods.augmentation.cutpaste
    import methods.augmentation.mixture
    import methods.augmentation.rotation
    import methods.augmentation.thread  # noqa: F401


def augmentation_names(differentiable: bool | None = None) -> list[str]:
    """All names, or only those that are (or are not) differentiable in their parameters."""
    load_builtin()
    return sorted(
        name
        for name, augmentation in _AUGMENTATIONS.items()
        if differentiable is None or augmentation.differentiable == differentiable
    )


def get_augmentation(name: str, differentiable: bool = False) -> Augmentation:
    """The augmentation registered under `name`.

    Raises ValueError for an unknown name and, where `differentiable` is asked for, for one without
    gradients in its parameters.
    """
    load_builtin()
    if name not in _AUGMENTATIONS:
        raise ValueError(
            f"augmentation is {name!r}, but must be one of: {', '.join(augmentation_names())}"
        )
    found = _AUGMENTATIONS[name]
    if differentiable and not found.differentiable:
        raise ValueError(
            f"augmentation is {name!r}, which cannot be learned by gradient; one of these can:"
            f" {', '.join(augmentation_names(True))}"
        )
    return found
