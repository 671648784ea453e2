"""Drivers of studies as processes of their own: begun, looked at, stopped, killed.

They are forked from a process that has imported everything once, so that a start costs little.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil

from tests.conftest import TINY, write_mvtec
from tuner.study.ledger import Entry, Ledger, StudyNotFound

T = TypeVar("T")

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["tests.faults.drivers", "tuner.cli.main", "tuner.job", "tuner.outcome",
     "tuner.evaluation.study", "tuner.registry.register", "tuner.study.engine_local", "mlflow",
     "mlflow.server.handlers", "boto3", "psycopg2"]
)  # fmt: skip

# Trials long enough to be caught in the middle, short enough to wait for.
SLOW = [*TINY, "--set", "steps=40", "--precision", "float32", "--no-early-stopping"]
ONE = ["--engine", "local", "--cpus-per-worker", "1"]


@dataclass
class Driver:
    """A process that runs the command line (or a function), and what it says."""

    process: Any
    output: Path

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    @property
    def over(self) -> bool:
        return not self.process.is_alive()

    def said(self) -> str:
        return " ".join(self.output.read_text().split()) if self.output.exists() else ""

    def end(self, seconds: float = 400.0) -> int:
        """Its exit code, once it has ended."""
        self.process.join(seconds)
        assert self.over, f"does not end: {self.said()}"
        return int(self.process.exitcode)

    def kill(self) -> None:
        """SIGKILL the process and everything that it started."""
        try:
            family = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        self.process.kill()
        for member in family:
            try:
                member.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.join(30)


@dataclass
class Garage:
    """Starts drivers, and ends those that are left."""

    folder: Path
    drivers: list[Driver] = field(default_factory=list)

    def launch(self, home: Path, *arguments: str, **more: Any) -> Driver:
        """`tuner launch` with a home of its own, on a dozen images. `changes` are values of the
        program that are changed in this process (`module.NAME`), so that no test waits long."""
        return self.run(command_line, ["launch", *self.asked(*arguments)], home=home, **more)

    def asked(self, *arguments: str) -> list[str]:
        """The arguments with the images."""
        images = self.folder / "images"
        if not images.exists():
            write_mvtec(images)
        return ["--data", str(images), "--category", "part", *arguments]

    def run(
        self,
        function: Callable[..., None],
        *arguments: Any,
        home: Path,
        changes: Mapping[str, Any] | None = None,
        **environment: str,
    ) -> Driver:
        output = self.folder / f"said-{len(self.drivers)}.txt"
        given = {**os.environ, "TUNER_HOME": str(home), "COLUMNS": "400", **environment}
        told = (str(output), given, dict(changes or {}), function, arguments)
        process = _FORKS.Process(target=_in_process, args=told)
        process.start()
        self.drivers.append(Driver(process, output))
        return self.drivers[-1]

    def close(self) -> None:
        for driver in self.drivers:
            driver.kill()


def command_line(arguments: list[str]) -> None:
    """Run `tuner` with these arguments; ends the process."""
    import sys

    from tuner.cli.main import main

    sys.argv = ["tuner", *arguments]
    main()


def _in_process(
    output: str,
    environment: dict[str, str],
    changes: dict[str, Any],
    function: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    os.setsid()
    with Path(output).open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    # Where a server is not asked, MLflow keeps files beside whoever calls it.
    os.chdir(Path(output).parent)
    os.environ.clear()
    os.environ.update(environment)
    for place, value in changes.items():
        module, name = place.rsplit(".", 1)
        setattr(importlib.import_module(module), name, value)
    function(*arguments)


def entries_of(url: str, study: str) -> list[Entry]:
    try:
        return Ledger.read(url, study).entries()
    except StudyNotFound:
        return []


def finished(url: str, study: str) -> list[Entry]:
    return [entry for entry in entries_of(url, study) if entry.state == "finished"]


def in_the_middle(url: str, study: str, done: int) -> bool:
    """Whether so many trials have finished, and another one has got to a rung."""
    entries = entries_of(url, study)
    running = [entry for entry in entries if entry.state == "running" and entry.records]
    return sum(entry.state == "finished" for entry in entries) >= done and bool(running)


def wait_for(condition: Callable[[], T], driver: Driver | None = None, seconds: float = 300.0) -> T:
    """What a condition gives once it gives something; a driver that ends before is a failure."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        if driver is not None and driver.over:
            raise AssertionError(f"ended with {driver.process.exitcode}: {driver.said()}")
        time.sleep(0.1)
    raise AssertionError("waited in vain")
