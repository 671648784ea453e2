"""Things by name: those of this package, and those that other packages bring."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pkgutil import resolve_name
from typing import Any, Generic, TypeVar

from methods.naming import unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind by name; each is imported when it is first asked for.

    `builtin` says where this package has them, as `module:object`, and `modules` names those of its
    modules that add what they have when they are imported. Any installed package brings more by
    entry points of `group`. An object may be a class, which is then made without arguments.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        builtin: Mapping[str, str] | None = None,
        modules: Sequence[str] = (),
    ) -> None:
        self.kind, self.group = kind, group
        self.known: dict[str, T] = {}
        self.builtin, self._modules = dict(builtin or {}), modules
        self._brought: dict[str, EntryPoint] | None = None

    def add(self, name: str, thing: T) -> T:
        """Make a thing known under `name`. Raises ValueError for a name in use."""
        if name in self.known or name in self.builtin:
            article = "an" if self.kind[0] in "aeiou" else "a"
            raise ValueError(f"{article} {self.kind} named {name!r} is registered already")
        self.known[name] = thing
        return thing

    def names(self) -> list[str]:
        """Sorted. Raises ValueError where another package brings a name that is in use."""
        self._import()
        return sorted({*self.known, *self.builtin, *self._entries()})

    def get(self, name: str) -> T:
        """Raises ValueError, listing the known names, for an unknown one, and for one whose package
        cannot be imported."""
        if name not in self.known and name in self.builtin:
            self.known[name] = _made(resolve_name(self.builtin[name]))
        if name not in self.known:
            self._import()
        if name not in self.known and name in self._entries():
            self._bring(name, self._entries()[name])
        if name not in self.known:
            raise ValueError(unknown(self.kind, name, self.names()))
        return self.known[name]

    def _import(self) -> None:
        for module in self._modules:
            importlib.import_module(module)

    def _entries(self) -> dict[str, EntryPoint]:
        if self._brought is None:
            found: dict[str, EntryPoint] = {}
            for entry in entry_points(group=self.group):
                # A package that was imported may have added its own by a decorator.
                added = entry.name in self.known and entry.module not in sys.modules
                if added or entry.name in self.builtin or entry.name in found:
                    raise ValueError(
                        f"the entry point {_told(entry)} of {self.group} has a name that is in use;"
                        " rename it, or uninstall its package"
                    )
                found[entry.name] = entry
            self._brought = found
        return self._brought

    def _bring(self, name: str, entry: EntryPoint) -> None:
        try:
            thing = _made(entry.load())
        except Exception as error:
            raise ValueError(
                f"{self.kind} {_told(entry)} cannot be imported ({type(error).__name__}: {error}); "
                "mend its package, or uninstall it"
            ) from error
        # A decorator may have added it meanwhile.
        own = getattr(self.known.setdefault(name, thing), "name", None)
        if own != name:
            del self.known[name]
            raise ValueError(
                f"{self.kind} {_told(entry)} calls itself {own!r}; both names must be the same"
            )


def _made(found: Any) -> Any:
    return found() if isinstance(found, type) else found


def _told(entry: EntryPoint) -> str:
    package = entry.dist.name if entry.dist is not None else "an unknown package"
    return f"{entry.name!r} of the package {package} ({entry.value})"
