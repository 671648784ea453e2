"""S3 answers 503: asked again where it is brief, a study stopped and resumed where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.conftest import write_mvtec
from tests.faltering import Faltering, faltering_store
from tests.faults.drivers import ONE, SLOW, Garage, finished, in_the_middle, wait_for
from tests.faults.invariants import Watched, assert_whole


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faltering]:
    with faltering_store(monkeypatch) as server:
        yield server


def test_a_store_that_answers_503_and_then_well(
    tmp_path: Path, garage: Garage, store: Faltering
) -> None:
    client, images = boto3.client("s3"), write_mvtec(tmp_path / "uploaded")
    for path in images.rglob("*.png"):
        client.upload_file(str(path), "runs", f"data/{path.relative_to(images).as_posix()}")
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    asked = [
        "--resume", "--name", "busy", "--budget", "4", *ONE, *SLOW, "--storage", ledger,
        "--data", "s3://runs/data", "--category", "part",
        "--tracking-uri", tracking, "--storage-path", "s3://runs/studies",
    ]  # fmt: skip
    with Watched(tmp_path / "home"):
        store.refusals = 2
        first = garage.launch(tmp_path / "home", *asked, changes={"tuner.study.depot.ATTEMPTS": 3})
        wait_for(lambda: in_the_middle(ledger, "busy", 1), first)
        assert store.refusals == 0 and store.refused == 2
        store.refusals = 2
        wait_for(lambda: not store.refusals, first)
        store.refusals = 100_000
        assert first.end() == 130, first.said()
        assert "files of trials" in first.said() or "files cannot be" in first.said()
        assert "s3://runs/studies/busy/trials/" in first.said()
        assert "check that the store is there" in first.said()
        assert "hush" not in first.said()
        store.refusals = 0
        before = finished(ledger, "busy")
        assert before
        second = garage.launch(tmp_path / "home", *asked)
        assert second.end() == 0, second.said()
    assert_whole(ledger, tracking, "busy", trials=4, before=before)
