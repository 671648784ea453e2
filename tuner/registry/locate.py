"""From what a person calls a model to the folder of its package."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.registry.package import PACKAGE_FILE
from tuner.registry.versions import Version, by_number, demanded, fetch, speaking_to
from tuner.study.home import Home, private

_VERSION = re.compile(r"(.+)@([A-Za-z][\w-]*)|(.+)/(\d+)")


@dataclass(frozen=True)
class Located:
    """A package on this machine, and what it is: `tile version 3`, or `the winner of study NAME`.
    `name` is the registered model's, the study's or the folder's; `version` is empty where it is
    not registered."""

    folder: Path
    what: str
    name: str
    version: str = ""


@private()
def locate(model: str, home: Home, uri: str) -> Located:
    """Find a model: `CATEGORY@champion`, `CATEGORY@challenger`, `CATEGORY/3`, a study's name, or a
    folder that holds a package.

    The registry is asked only where the name says so. Raises LookupError for one that does not
    exist, RegistryError where the registry is away or has lost the files.
    """
    if (Path(model) / PACKAGE_FILE).is_file():
        return Located(Path(model), f"package {model}", Path(model).resolve().name)
    if not names_version(model):
        return _study(model, home)
    with speaking_to(uri) as client:
        version = _found(client, model)
        folder = fetch(client, uri, version, home.models)
    number = str(version.number)
    return Located(folder, f"{version.name} version {number}", version.name, number)


def names_version(text: str) -> bool:
    """Whether a text is `CATEGORY@ALIAS` or `CATEGORY/NUMBER`, which no study is called."""
    return _VERSION.fullmatch(text) is not None


def study_of(version: str, uri: str) -> str:
    """The study that a registered version comes from. Raises LookupError and RegistryError."""
    with speaking_to(uri) as client:
        return _found(client, version).study


def _found(client: Any, text: str) -> Version:
    match = _VERSION.fullmatch(text)
    assert match is not None
    if match[2]:
        return demanded(client, match[1], match[2])
    return by_number(client, match[3], int(match[4]))


def _study(name: str, home: Home) -> Located:
    if name in home.study_names():
        folder = home.study(name).package
        if (folder / PACKAGE_FILE).is_file():
            return Located(folder, f"the winner of study {name}", name)
        raise LookupError(f"study {name} has no winner yet; end it first by: tuner resume {name}")
    known = ", ".join(home.study_names()[-5:]) or "none yet"
    raise LookupError(
        f"no model is called {name!r}; give CATEGORY@champion, CATEGORY@challenger, CATEGORY/3, or "
        f"a study under {home.path} (the last ones: {known})"
    )
