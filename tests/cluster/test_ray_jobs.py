"""The Ray Jobs API, on a Ray head with its dashboard that asks for a token."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.errors import ClusterError, NoSuchJob
from cluster.ray_jobs import RayJobs

BIN = Path(sys.executable).parent
TOKEN = "a-token-for-these-tests-0123456789"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Paths of sockets must be short, and those of pytest's workers are not."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def with_token() -> Iterator[None]:
    """Ray reads its authentication once a process, and another test may have imported Ray."""
    from ray._private.authentication_test_utils import reset_auth_token_state

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        patch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
        reset_auth_token_state()
        yield
    reset_auth_token_state()


@pytest.fixture
def dashboard(tmp_path: Path, short_folder: Path, with_token: None) -> Iterator[str]:
    port, folder = free_port(), short_folder
    command = [
        str(BIN / "ray"), "start", "--head", f"--port={free_port()}", "--num-cpus=1",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={port}", "--disable-usage-stats",
        f"--dashboard-agent-listen-port={free_port()}", "--node-ip-address=127.0.0.1",
        "--object-store-memory=80000000", f"--temp-dir={folder}",
    ]  # fmt: skip
    # Jobs resolve their program by the path of `ray start`.
    path = f"{BIN}:{os.environ['PATH']}"
    with (tmp_path / "head.log").open("w") as log:
        subprocess.run(
            command, check=True, stdout=log, stderr=log, env={**os.environ, "PATH": path}
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        for process in started_in(folder):
            process.kill()


def started_in(folder: Path) -> list[psutil.Process]:
    """The processes of the cluster whose files lie in a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in part for part in process.info["cmdline"] or ()):
            found.append(process)
    return found


def connected(address: str) -> RayJobs:
    end = time.monotonic() + 60
    while True:
        try:
            jobs = RayJobs(address)
            jobs.jobs()
            return jobs
        except ClusterError:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


def test_jobs_on_a_running_cluster(
    dashboard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = connected(dashboard)
    assert jobs.jobs() == []
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "speak.py").write_text("import os\nprint('hello', os.environ['WHO'], flush=True)\n")
    speak = ["python", "speak.py"]
    job, created = jobs.submit("one", speak, {"WHO": "lids & nuts"}, folder)
    assert created and not job.over
    assert not jobs.submit("one", speak, {"WHO": "lids & nuts"}, folder)[1]
    with pytest.raises(ClusterError, match="asks for something else"):
        jobs.submit("one", speak, {"WHO": "bolts"}, folder)
    assert "hello lids & nuts" in list(jobs.logs("one", follow=True))
    assert jobs.job("one").state == "succeeded"
    assert "hello lids & nuts" in list(jobs.logs("one"))

    sleeper = ["python", "-c", "import time; print('up', flush=True); time.sleep(60)"]
    jobs.submit("two", sleeper, {})
    assert "up" in jobs.logs("two", follow=True)
    jobs.stop("two")
    list(jobs.logs("two", follow=True))
    assert jobs.job("two").state == "stopped"
    assert [job.name for job in jobs.jobs()] == ["one", "two"]
    jobs.stop("two")
    with pytest.raises(NoSuchJob):
        jobs.job("two")

    monkeypatch.setattr("ray.__version__", "2.9.0")
    with pytest.raises(ClusterError, match=r"but this tuner uses Ray 2\.9\.0"):
        jobs.submit("three", speak, {})
    # Ray reads a token once a process.
    asked = [str(BIN / "tuner"), "jobs", "--ray-address", dashboard]
    refused = subprocess.run(
        asked, capture_output=True, text=True, check=False,
        env={**os.environ, "RAY_AUTH_TOKEN": "another-token"},
    )  # fmt: skip
    assert refused.returncode == 2
    assert "does not accept the token" in refused.stderr
    assert "another-token" not in refused.stderr
