"""Ray's folder, and processes that outlive their driver."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from ray.tune.execution import class_cache

from tuner.study import leftovers
from tuner.study.leftovers import end_leftovers, temporary_folder

SESSION = "session_2026-01-01_00-00-00_000000_"


def agent(folder: Path, driver: int) -> subprocess.Popen[bytes]:
    """A process that names the session of a driver, as Ray's agents do."""
    log = f"--log-dir={folder}/{SESSION}{driver}/logs"
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", log])


@pytest.mark.heavy
def test_what_a_dead_driver_left_is_ended_and_nothing_else(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left, living = agent(tmp_path, dead.pid), agent(tmp_path, os.getpid())
    other = agent(tmp_path / "other", dead.pid)
    try:
        for each in (left, living, other):
            while SESSION not in " ".join(psutil.Process(each.pid).cmdline()):
                time.sleep(0.01)
        assert end_leftovers(tmp_path) == [left.pid]
        assert left.wait(30) < 0 and living.poll() is None and other.poll() is None
    finally:
        for each in (left, living, other):
            each.kill()
            each.wait()


@pytest.mark.heavy
def test_a_watchdog_waits_for_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "_PAUSE", 0.0)
    driver = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    left = agent(tmp_path, driver.pid)
    watchdog = subprocess.Popen(
        [sys.executable, "-P", str(leftovers.__file__), str(tmp_path), str(driver.pid)]
    )
    assert left.poll() is None and watchdog.poll() is None
    driver.kill()
    driver.wait()
    assert left.wait(60) < 0
    assert watchdog.wait(60) == 0


def test_rays_folder_is_short_and_its_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    folder = temporary_folder()
    assert not folder.is_relative_to(long)
    assert len(f"{folder}/{SESSION}4194304/sockets/plasma_store") <= 107
    assert folder.parent.stat().st_mode & 0o777 == 0o700

    monkeypatch.setattr(leftovers, "_PLACES", ())
    with pytest.raises(ValueError, match=r"too long .*RAY_TMPDIR .* at most \d+ characters"):
        temporary_folder()
    # Nobody else may have laid a snare there.
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setenv("TMPDIR", short)
        snare = Path(short) / folder.parent.name
        snare.symlink_to(tmp_path)
        with pytest.raises(ValueError, match="RAY_TMPDIR"):
            temporary_folder()
        snare.unlink()
        assert temporary_folder().parent == snare


def test_no_key_is_sent_along_with_a_trial() -> None:
    import tuner.study.engine_ray  # noqa: F401

    assert not [name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS")]
