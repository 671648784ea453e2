"""The wheel, installed into an empty environment, runs the main job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TINY

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(1500)
def test_the_wheel_runs_the_main_job_in_an_empty_environment(tmp_path: Path) -> None:
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

    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT))
    (wheel,) = tmp_path.glob("*.whl")
    place = tmp_path / "venv"
    run(sys.executable, "-m", "venv", str(place))
    constraints = str(ROOT / "constraints.txt")
    run(str(place / "bin" / "pip"), "install", "--quiet", "-c", constraints, str(wheel))
    environment = {**os.environ, "TUNER_HOME": str(tmp_path / "home")}
    out = run(
        str(place / "bin" / "tuner"), "launch", "--budget", "2", "--json", *TINY,
        cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert sum(json.loads(out)["trials"].values()) == 2
