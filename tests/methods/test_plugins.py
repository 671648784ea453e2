"""What other packages bring by entry points."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from methods.augmentation import augmentation_names, get_augmentation
from methods.augmentation.registry import AUGMENTATIONS
from methods.criteria.registry import CRITERIA, criterion_names, get_criterion
from methods.plugins import Registry
from methods.registry import METHODS, get_method, method_names

PAGE = Path(__file__).parents[2] / "docs" / "contributing.md"
Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes a package `plant` of a module's code and its entry points, as pip would."""
    for registry in (METHODS, CRITERIA, AUGMENTATIONS):
        monkeypatch.setattr(registry, "_brought", None)
        monkeypatch.setattr(registry, "known", dict(registry.known))
    monkeypatch.syspath_prepend(tmp_path)

    def installed(code: str, points: str) -> None:
        (tmp_path / "plant.py").write_text(code)
        about = tmp_path / "plant-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plant\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(points)

    yield installed
    sys.modules.pop("plant", None)


def test_a_package_brings_methods_criteria_and_corruptions(install: Install) -> None:
    before = method_names(), criterion_names(), augmentation_names()
    for registry in (METHODS, CRITERIA, AUGMENTATIONS):
        registry._brought = None
    body, head = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    (points,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.S)
    code = (
        "from dataclasses import replace\n"
        "from methods.augmentation.cutout import CUTOUT\n"
        "from methods.criteria.registry import get_criterion\n"
        'glare = replace(CUTOUT, name="glare")\n'
        'calm = replace(get_criterion("score_variance"), name="calm")\n'
    )
    points = re.sub(r'\[project\.entry-points\."(.*?)"\]', r"[\1]", points).replace('"', "")
    install(head + body + code, points)
    assert method_names() == sorted([*before[0], "mean-image"])
    assert "plant" not in sys.modules, "a name alone imports nothing"
    assert get_method("mean-image").title == "Mean image"
    assert (
        criterion_names() == sorted([*before[1], "calm"]) and get_criterion("calm").name == "calm"
    )
    assert augmentation_names() == sorted([*before[2], "glare"])
    assert get_augmentation("glare").name == "glare"


BROKEN = {
    "away": (
        "x = 1",
        "away = plant:gone",
        "'away' of the package plant .*AttributeError.*mend its",
    ),
    "raises": ("1 / 0", "raises = plant:x", "ZeroDivisionError: division by zero"),
    "another": ("class x: name = 'other'", "another = plant:x", "calls itself 'other'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_package_that_is_broken_is_named_and_disturbs_no_other(
    name: str, install: Install
) -> None:
    code, point, said = BROKEN[name]
    install(code, f"[tuner.test]\n{point}\n")
    toys: Registry[object] = Registry("toy", "tuner.test", {"path": "pathlib:Path"})
    assert toys.names() == sorted([name, "path"])
    for _ in range(2):
        with pytest.raises(ValueError, match=said):
            toys.get(name)
    assert toys.get("path") == Path()
    with pytest.raises(ValueError, match=f"toy is .pth., but must be one of: .*{name}"):
        toys.get("pth")


def test_a_package_that_was_imported_before_is_known_already(install: Install) -> None:
    body, head = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    install(head + body, "[tuner.methods]\nmean-image = plant:MeanImage\n")
    importlib.import_module("plant")
    assert "mean-image" in method_names() and get_method("mean-image").title == "Mean image"


def test_a_name_in_use_is_refused(install: Install) -> None:
    install("", "[tuner.test]\npath = plant:x\n")
    toys: Registry[object] = Registry("toy", "tuner.test", {"path": "pathlib:Path"})
    assert toys.get("path") == Path()
    with pytest.raises(ValueError, match=r"'path' of the package plant .* name that is in use"):
        toys.names()
    with pytest.raises(ValueError, match="a toy named 'path' is registered already"):
        toys.add("path", object())
