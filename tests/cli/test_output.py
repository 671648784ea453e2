"""What is printed: any text on any terminal, and a full disk behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TUNER = str(Path(sys.executable).parent / "tuner")

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize(
    "terminal",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
    ],
)
def test_a_terminal_without_unicode_shows_all_the_same(terminal: dict[str, str]) -> None:
    done = subprocess.run(
        [TUNER, "list", "methods", "fae"], capture_output=True, text=True, check=False,
        env={**os.environ, **terminal},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # The symbol of a hyperparameter is a Greek letter.
    assert "mask_weight (\\u03bb)" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
@pytest.mark.parametrize("arguments", [["list", "methods", "--json"], ["--version"]])
def test_output_that_cannot_be_written_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [TUNER, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "standard output cannot be written (No space left on device)" in line


def test_closed_streams_are_no_fault_and_stay_free_of_other_files() -> None:
    script = f"{TUNER} list methods --json >&- && {TUNER} list methods --json"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["methods"]
