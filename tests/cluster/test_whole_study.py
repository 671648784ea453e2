"""A study whose every store is a server: images and files in S3, ledger and runs in PostgreSQL,
MLflow behind a password."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from typer.testing import CliRunner, Result

from benchmarks.servers import BUCKET, mlflow_server, postgres
from tests.conftest import TINY, write_mvtec
from tuner.cli.main import app


@pytest.fixture
def stores(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Sets the variables by which all stores are reached; gives the secrets among them."""
    with tempfile.TemporaryDirectory() as folder:
        # Where root runs the tests, another user runs the server, and must reach its files.
        Path(folder).chmod(0o755)
        with (
            postgres(Path(folder), ["ledger", "runs", "users"]) as url,
            mlflow_server(
                tmp_path / "mlflow", url("runs"), url("users"), f"s3://{BUCKET}/artifacts", {}
            ) as given,
        ):
            for name, value in {"TUNER_STORAGE": url("ledger"), **given}.items():
                monkeypatch.setenv(name, value)
            yield [given["MLFLOW_TRACKING_PASSWORD"]]


def upload(folder: Path) -> None:
    client = boto3.client("s3")
    for path in folder.rglob("*.png"):
        client.upload_file(str(path), BUCKET, f"data/{path.relative_to(folder)}")


def tuner(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_a_study_that_leaves_nothing_on_its_machine(
    stores: list[str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mvtec(tmp_path / "images", normals=4, good=2, bad=2)
    upload(tmp_path / "images")
    asked = [
        "launch", "--category", "part", "--data", f"s3://{BUCKET}/data",
        "--storage-path", f"s3://{BUCKET}/studies", "--durable", "--budget", "1",
        "--engine", "local", "--cpus-per-worker", "1", "--precision", "float32", *TINY,
    ]  # fmt: skip
    launched = tuner(*asked, "--name", "away")
    assert launched.exit_code == 0, launched.output
    assert "part version 1 (challenger)" in launched.output
    kept = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    for secret in stores:
        assert secret not in launched.output
        assert not any(secret.encode() in content for content in kept)

    monkeypatch.setenv("TUNER_HOME", str(tmp_path / "another machine"))
    assert "finished" in tuner("status", "away").output
    line = f"s3://{BUCKET}/data/part/test/good"
    judged = tuner("predict", "part@challenger", line, "--out", str(tmp_path / "out"), "--json")
    assert judged.exit_code == 0, judged.output
    assert json.loads(judged.stdout)["images"] == 2

    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a wrong one")
    for command in (["history", "part"], asked):
        refused = tuner(*command)
        assert refused.exit_code == 2
        assert "MLFLOW_TRACKING_PASSWORD" in refused.output
        assert "a wrong one" not in refused.output and "rung 1/4" not in refused.output
