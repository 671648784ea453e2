"""Methods by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from methods.contract import Method
from methods.naming import unknown

M = TypeVar("M", bound=Method)

_METHODS: dict[str, Method] = {}


def register_method(name: str) -> Callable[[type[M]], type[M]]:
    """Class decorator: make a method known under `name`. Raises ValueError for a name in use."""

    def register(cls: type[M]) -> type[M]:
        if name in _METHODS:
            raise ValueError(f"a method named {name!r} is registered already")
        cls.name = name
        _METHODS[name] = cls()
        return cls

    return register


def load_builtin() -> None:
    """Import every method folder of this package once."""
    import methods.energy_projection
    import methods.feature_autoencoder
    import methods.filter_memory
    import methods.filtering_autoencoder
    import methods.one_class
    import methods.patch_memory
    import methods.self_tuning.method  # noqa: F401


def method_names() -> list[str]:
    load_builtin()
    return sorted(_METHODS)


def get_method(name: str) -> Method:
    """The method registered under `name`; raises ValueError listing the known names."""
    load_builtin()
    if name not in _METHODS:
        raise ValueError(unknown("method", name, _METHODS))
    return _METHODS[name]
