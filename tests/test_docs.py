"""Every command that the pages of `docs/` show, in small."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.conftest import TINY, textured, write_mvtec
from tuner.cli.main import app

DOCS = Path(__file__).parents[1] / "docs"
# The tutorial goes first: other pages speak of its study.
PAGES = [
    "tutorial.md", "data.md", "methods.md", "criteria.md", "tracking.md", "promotion.md",
]  # fmt: skip
LINK = re.compile(r"\]\(([\w./-]+\.md)\)")


def commands(page: str) -> list[list[str]]:
    text = (DOCS / page).read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("tuner ")]


def in_small(arguments: list[str], page: str) -> list[str]:
    """The same command on few tiny trials, past gates that so little training does not open."""
    if arguments[0] == "launch":
        # The defaults, the memory that they are compared with, and one to begin another study with:
        # the tutorial's studies are gone on with.
        trials = "3" if page == "tutorial.md" else "1"
        arguments = [*arguments, "--budget", trials, "--engine", "local"]
        arguments += ["--cpus-per-worker", "1"]
        own = {name.split("=")[0] for name in arguments if "=" in name}
        arguments += TINY[:3]
        arguments += [f"--set={pin}" for pin in TINY[4::2] if pin.split("=")[0] not in own]
    if arguments[0] == "promote" and "--rollback" not in arguments:
        # The tutorial has promoted the challenger when another page promotes it.
        if page != "tutorial.md" and "--version" not in arguments:
            arguments = [*arguments, "--version", "1"]
        arguments = [*arguments, "--force", "--reason", "a test"]
    return arguments


@pytest.fixture
def workplace(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(1)
    for folder, count in (("normal", 14), ("unlabelled", 10)):
        target = tmp_path / "lids" / folder
        target.mkdir(parents=True)
        for index in range(count):
            defect = folder == "unlabelled" and index % 2 == 0
            Image.fromarray(textured(rng, defect)).save(target / f"{index:03d}.png")
    (write_mvtec(tmp_path / "parts") / "part").rename(tmp_path / "parts" / "lid")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.heavy
def test_every_command_of_the_pages_works(workplace: Path) -> None:
    runner = CliRunner()
    seen = 0
    for page in PAGES:
        for arguments in commands(page):
            done = runner.invoke(app, in_small(arguments, page))
            assert done.exit_code == 0, (page, arguments, done.output)
            seen += 1
    assert seen > 25
    assert (workplace / "verdicts").is_dir()


def test_the_notebook_runs_from_top_to_bottom(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads((DOCS / "quickstart.ipynb").read_text())["cells"]
    found: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            exec("".join(cell["source"]), found)
    assert found["state"]["state"] == "ended" and found["state"]["ended"] == 2
    assert found["report"].is_file()
    assert found["summary"]["unlabelled"]["images"] == 80
    assert found["found"]["score"].size == 1


def test_links_between_pages_lead_somewhere() -> None:
    for page in DOCS.glob("*.md"):
        for target in LINK.findall(page.read_text()):
            assert (DOCS / target).is_file(), (page.name, target)
