"""Processes that die, and studies that meet in one store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import TINY, Invoke, json_of, write_mvtec
from tests.faults.invariants import Watched, assert_whole
from tuner.study.home import Home
from tuner.study.ledger import Entry, Ledger, StudyNotFound
from tuner.tracking import default_uri

TUNER = str(Path(sys.executable).parent / "tuner")

# Trials that take long enough to be caught.
SLOW = [*TINY, "--set", "steps=40"]

pytestmark = pytest.mark.heavy


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """The arguments that name a dozen images."""
    return ["--data", str(write_mvtec(tmp_path / "images")), "--category", "part"]


def begin(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [TUNER, *arguments], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def ledger_entries(home: Path, study: str) -> list[Entry]:
    try:
        return Ledger.read(Home(home).ledger_url, study).entries()
    except StudyNotFound:
        return []


def wait_for(condition, seconds: float = 240.0):  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError("waited in vain")


def kill_tree(process: subprocess.Popen[str]) -> None:
    """SIGKILL the driver and everything that it started."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue


def test_a_study_whose_driver_is_killed_and_then_stopped_loses_no_finished_trial(
    invoke: Invoke, home: Path, images: list[str]
) -> None:
    def finished() -> list[Entry]:
        return [entry for entry in ledger_entries(home, "cut") if entry.state == "finished"]

    asked = ["--budget", "6", "--no-early-stopping", *images, *SLOW]
    process = begin("launch", "--name", "cut", *asked)
    wait_for(lambda: len(finished()) >= 2)
    kill_tree(process)
    before = finished()
    assert invoke("status", "cut").stdout.count("interrupted")

    # More than it will come to before Ctrl-C.
    process = begin("resume", "cut", "--budget", "200")
    wait_for(lambda: len(finished()) > len(before))
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "tuner resume cut" in out
    before = [*before, *(entry for entry in finished() if entry not in before)]

    trials = len(ledger_entries(home, "cut")) + 1
    changed = ["--engine", "local", "--cpus-per-worker", "1", "--budget", str(trials)]
    summary = json_of(invoke("resume", "cut", "--json", *changed))
    assert summary["trials"] == {"finished": trials, "stopped_early": 0, "failed": 0}
    assert_whole(Home(home).ledger_url, default_uri(home), "cut", trials=trials, before=before)
    assert json_of(invoke("resume", "cut", "--json"))["model"] == summary["model"]


def test_two_studies_share_one_store_and_a_killed_trial_of_one_goes_on(
    home: Path, images: list[str]
) -> None:
    asked = ["launch", "--budget", "3", "--parallel", "1", *images, *SLOW]
    runs = {
        name: begin(*asked, "--name", name, "--seed", seed)
        for name, seed in (("hurt", "0"), ("other", "1"))
    }

    def worker():  # type: ignore[no-untyped-def]
        if not ledger_entries(home, "hurt"):
            return None
        for child in psutil.Process(runs["hurt"].pid).children(recursive=True):
            try:
                if "ImplicitFunc" in " ".join(child.cmdline()):
                    return child
            except psutil.Error:
                continue
        return None

    with Watched(home):
        wait_for(worker).kill()
        for run in runs.values():
            out, _ = run.communicate(timeout=400)
            assert run.returncode == 0, out
    for name in runs:
        assert_whole(Home(home).ledger_url, default_uri(home), name, trials=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--category", "nope"], "tile"),
        (["--budget", "soon"], "budget is 'soon'"),
        (["--criterion", "wish"], "must be one of"),
        (["--method", "magic"], "must be one of"),
        (["--method", "fae", "--size", "30"], "30"),
        (["--data", "/nowhere/at/all"], "/nowhere/at/all"),
        (["--gpus-per-worker", "1"], "no GPU"),
        (["--set", "steps"], "must be like"),
        (["--set", "noise_sigma=1e30"], "noise_sigma is 1e+30"),
        (["--trainer", "sometimes"], "sometimes"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_trained(
    invoke: Invoke, home: Path, arguments: list[str], message: str
) -> None:
    done = invoke("launch", "--name", "bad", *arguments, check=False)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "studies" / "bad" / "study.json").exists()
