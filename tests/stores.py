"""Stores that outlive a machine, real ones on loopback, as fixtures."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from benchmarks.servers import BUCKET, postgres, seaweed


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        # Where root runs the tests, another user runs the server, and must reach its files.
        Path(folder).chmod(0o755)
        with postgres(Path(folder)) as url:
            yield url("postgres")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    # The default session would keep the keys of an earlier test.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with seaweed(tmp_path) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield f"s3://{BUCKET}/studies"
