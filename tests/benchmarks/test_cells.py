"""A grid of cells goes on where it was, and does not mix settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cells
import pytest


def square(number: int) -> dict[str, Any]:
    if number < 0:
        raise ValueError(f"the number is {number}")
    return {"square": number**2}


def refuse(number: int) -> dict[str, Any]:
    raise AssertionError("a finished cell was run again")


@pytest.mark.heavy
@pytest.mark.parametrize("processes", [1, 2])
def test_cells_are_kept_and_not_run_again(tmp_path: Path, processes: int) -> None:
    path, settings = tmp_path / "out.json", {"side": 32, "values": (1, 2)}
    found = cells.run(path, settings, {"a": 2, "b": 3}, square, processes)
    assert {name: record["square"] for name, record in found.items()} == {"a": 4, "b": 9}
    again = cells.run(path, settings, {"b": 3, "a": 2}, refuse, 1)
    assert again == found
    more = cells.run(path, settings, {"a": 2, "c": 4}, square, 1)
    assert set(more) == {"a", "c"} and more["a"] == found["a"]
    cells.finish(path, settings, more, {"best": "c"})
    content = json.loads(path.read_text())
    assert set(content["cells"]) == {"a", "b", "c"} and content["summary"] == {"best": "c"}


def test_a_cell_that_fails_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    found = cells.run(tmp_path / "out.json", {}, {"bad": -1, "good": 1}, square, 1)
    assert found["bad"]["error"] == "ValueError: the number is -1"
    assert found["good"]["square"] == 1


def test_other_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    cells.run(path, {"side": 32, "seed": 0}, {"a": 2}, square, 1)
    with pytest.raises(SystemExit, match=r"other settings \(side\)"):
        cells.run(path, {"side": 64, "seed": 0}, {"a": 2}, square, 1)
