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

from tests.conftest import TINY, Run, json_of
from tests.faults.invariants import Watched, assert_whole
from tuner.study.home import Home
from tuner.tracking import default_uri

TUNER = str(Path(sys.executable).parent / "tuner")


def begin(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [TUNER, "launch", *arguments], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def ledger_entries(home: Path, study: str):  # type: ignore[no-untyped-def]
    from tuner.study.ledger import Ledger, StudyNotFound

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


def test_a_killed_driver_is_resumed_without_losing_a_finished_trial(tuner: Run, home: Path) -> None:
    arguments = ["--name", "cut", "--budget", "6", "--no-early-stopping", *TINY]
    process = begin(*arguments)
    wait_for(lambda: sum(e.state == "finished" for e in ledger_entries(home, "cut")) >= 2)
    kill_tree(process)
    before = {e.number: e for e in ledger_entries(home, "cut")}
    finished = {n for n, e in before.items() if e.state == "finished"}
    assert tuner("status", "cut").stdout.count("interrupted")
    summary = json_of(tuner("resume", "cut", "--json", "--parallel", "1", "--budget", "7"))
    after = {e.number: e for e in ledger_entries(home, "cut")}
    assert summary["trials"] == {"finished": 7, "stopped_early": 0, "failed": 0}
    assert len(after) == 7
    for number in finished:
        assert after[number] == before[number]
    for entry in after.values():
        assert [record["rung"] for record in entry.records] == [1, 2, 3, 4]
    assert json_of(tuner("resume", "cut", "--json"))["model"] == summary["model"]


def test_ctrl_c_stops_cleanly_and_says_how_to_resume(home: Path) -> None:
    process = begin("--name", "ctrl", "--budget", "200", *TINY)
    wait_for(lambda: len(ledger_entries(home, "ctrl")) >= 2)
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "tuner resume ctrl" in out


def test_a_trial_whose_process_is_killed_goes_on(home: Path) -> None:
    process = begin("--name", "hurt", "--budget", "3", "--parallel", "1", *TINY[:-4],
                    "--set", "steps=40", "--set", "width=4", "--set", "batch_size=4")  # fmt: skip

    def worker():  # type: ignore[no-untyped-def]
        if not ledger_entries(home, "hurt"):
            return None
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                if "ImplicitFunc" in " ".join(child.cmdline()):
                    return child
            except psutil.Error:
                continue
        return None

    with Watched(home):
        wait_for(worker).kill()
        out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert_whole(Home(home).ledger_url, default_uri(home), "hurt", trials=3)


def test_two_studies_at_once_share_one_store(home: Path) -> None:
    runs = [
        begin("--name", name, "--budget", "3", "--parallel", "1", "--seed", str(seed), *TINY)
        for seed, name in enumerate(("left", "right"))
    ]
    for run in runs:
        out, _ = run.communicate(timeout=400)
        assert run.returncode == 0, out
    for name in ("left", "right"):
        entries = ledger_entries(home, name)
        assert len(entries) == 3
        assert all(entry.state in ("finished", "stopped_early") for entry in entries)


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
    tuner: Run, home: Path, arguments: list[str], message: str
) -> None:
    done = tuner("launch", "--name", "bad", *arguments, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "studies" / "bad" / "study.json").exists()
