"""A disk that is full: the study stops and says where; with room again it goes on."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

import pytest

from tests.faults.drivers import ONE, SLOW, Garage, command_line, finished
from tests.faults.invariants import assert_whole

# Bytes: room for the files of a trial, but not for those of three.
FREE = 900_000
NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000


def run_on_a_small_disk(disk: str, arguments: list[str], study: str) -> None:
    """Launch with `disk` all but full, make room, resume; exits with what the second run says."""
    user, group = os.getuid(), os.getgid()
    flags = NEW_MOUNTS if user == 0 else NEW_MOUNTS | NEW_USER
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        raise OSError(ctypes.get_errno(), "a mount of its own is not allowed here")
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    for mount in (["--make-rprivate", "/"], ["-t", "tmpfs", "-o", "size=4m", "none", disk]):
        subprocess.run(["mount", *mount], check=True)
    filler = Path(disk) / "filler"
    filler.write_bytes(bytes(3_000_000))
    free = os.statvfs(disk)
    with filler.open("ab") as file:
        file.write(bytes(free.f_bavail * free.f_frsize - FREE))
    with pytest.raises(SystemExit) as stopped:
        command_line(["launch", *arguments])
    print(f"first ended with {stopped.value.code}", flush=True)
    left = [str(path) for path in Path(disk).rglob("*") if ".part" in path.name or _aside(path)]
    print(f"half-written: {left}", flush=True)
    filler.unlink()
    command_line(["resume", study])


def _aside(path: Path) -> bool:
    return path.name.startswith(".")


def mounts_are_allowed() -> bool:
    own = ["--mount"] if os.getuid() == 0 else ["--mount", "--map-root-user"]
    tried = ["unshare", *own, "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not mounts_are_allowed(), reason="a small disk needs a mount of its own")
@pytest.mark.parametrize("full", ["home", "depot"])
def test_a_full_disk_stops_a_study_and_fails_no_trial(
    tmp_path: Path, garage: Garage, full: str
) -> None:
    home, depot = tmp_path / "home", tmp_path / "depot"
    disk = {"home": home / "studies" / "full" / "trials", "depot": depot}[full]
    disk.mkdir(parents=True)
    depot.mkdir(exist_ok=True)
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    asked = garage.asked(
        "--name", "full", "--budget", "3", "--method", "fae", *ONE, *SLOW, "--storage", ledger,
        "--tracking-uri", tracking, "--storage-path", str(depot),
    )  # fmt: skip
    driver = garage.run(run_on_a_small_disk, str(disk), asked, "full", home=home)
    assert driver.end() == 0, driver.said()
    said = driver.said()
    assert "first ended with 130" in said
    assert f"cannot be written to {disk}" in said
    assert "No space left on device" in said
    assert "tuner resume full" in said
    assert "half-written: []" in said
    assert len(finished(ledger, "full")) == 3
    assert_whole(ledger, tracking, "full", trials=3)
