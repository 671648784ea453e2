"""What tests share: small data in a folder of their own, and the command line as users run it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from PIL import Image
from typer.testing import CliRunner, Result

from tests.stores import bucket, database
from tuner.addresses import spare_loopback
from tuner.cli.main import app
from tuner.tracking.store import default_uri, make_client

__all__ = ["bucket", "database"]

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Servers of tests are on this machine.
spare_loopback()
# Ray's processes give way to all others; beside a second process of tests, they would starve.
os.environ.setdefault("RAY_worker_niceness", "0")
# Processes that Ray starts ahead of work take seconds each, used or not.
for _name in ("RAY_enable_worker_prestart", "RAY_prestart_worker_first_driver"):
    os.environ.setdefault(_name, "0")


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def _write_at_leisure(connection: Any, _: Any) -> None:
    """Stores are written to hundreds of times a test. No test cuts the power, and what a killed
    process has written is there without waiting for the disk."""
    if isinstance(connection, sqlite3.Connection):
        # Whoever opens a database that is locked or damaged is told so by what it asks itself.
        with contextlib.suppress(sqlite3.Error):
            connection.execute("PRAGMA synchronous = OFF")


TINY = [
    "--no-export", "--size", "32",
    "--set", "steps=8", "--set", "width=4", "--set", "batch_size=4",
]  # fmt: skip

Run = Callable[..., subprocess.CompletedProcess[str]]
Invoke = Callable[..., Result]

# Whatever asks for one of these asks for a process or a server.
SERVERS = {"tuner", "garage", "database", "bucket", "server", "place", "dashboard"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with heavy tests come first: with several workers, no long one is left for last."""
    for item in items:
        if SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("heavy")
    heavy = {item.path for item in items if item.get_closest_marker("heavy")}
    items.sort(key=lambda item: item.path not in heavy)


@pytest.fixture(scope="session")
def tracking_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking store with nothing in it: MLflow takes seconds to make its tables."""
    folder = tmp_path_factory.mktemp("tables")
    make_client(default_uri(folder))
    return folder / "mlflow.db"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracking_tables: Path) -> Path:
    """A folder for the state of tuner, with nothing but an empty tracking store."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TUNER_HOME", str(folder))
    folder.mkdir()
    shutil.copy(tracking_tables, folder)
    return folder


@pytest.fixture
def invoke(home: Path) -> Invoke:
    """Runs the command line in this process; `check=False` allows a failure."""

    def run(*arguments: str, check: bool = True) -> Result:
        done = CliRunner().invoke(app, arguments)
        if check and done.exit_code:
            raise AssertionError(
                f"{arguments} ended with {done.exit_code}\n{done.output}"
            ) from done.exception
        return done

    return run


@pytest.fixture
def tuner(home: Path) -> Run:
    """Runs the command line in a process of its own; `check=False` allows a failure."""

    def run(
        *arguments: str, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / "tuner"), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=500, **options
        )
        if check and done.returncode:
            raise AssertionError(f"{arguments} ended with {done.returncode}\n{done.stderr}")
        return done

    return run


def json_of(done: subprocess.CompletedProcess[str] | Result) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def textured(rng: np.random.Generator, defect: bool = False) -> np.ndarray:
    """A 40 x 40 grey surface with stripes; with a dark blot where `defect`."""
    rows, columns = np.mgrid[:40, :40]
    surface = 128 + 30 * np.sin(columns / 3 + rng.uniform(0, 6)) + rng.normal(0, 6, (40, 40))
    if defect:
        y, x = rng.integers(8, 32, 2)
        surface[(rows - y) ** 2 + (columns - x) ** 2 < 25] -= 90
    return surface.clip(0, 255).astype(np.uint8)


def write_mvtec(root: Path, *, normals: int = 12, good: int = 6, bad: int = 6) -> Path:
    """A category `part` in MVTec AD's layout; returns the data folder."""
    rng = np.random.default_rng(5)
    for folder, count, defect in (
        ("train/good", normals, False),
        ("test/good", good, False),
        ("test/blot", bad, True),
    ):
        target = root / "part" / folder
        target.mkdir(parents=True)
        for index in range(count):
            Image.fromarray(textured(rng, defect)).save(target / f"{index:03d}.png")
    masks = root / "part" / "ground_truth" / "blot"
    masks.mkdir(parents=True)
    for index in range(bad):
        image = np.asarray(Image.open(root / "part" / "test" / "blot" / f"{index:03d}.png"))
        Image.fromarray(((image < 70) * 255).astype(np.uint8)).save(masks / f"{index:03d}_mask.png")
    return root
