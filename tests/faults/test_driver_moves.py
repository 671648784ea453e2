"""A driver that is killed; its study goes on on another machine, with nothing but stores shared."""

from __future__ import annotations

import shutil
from pathlib import Path

import boto3

from tests.faults.drivers import ONE, SLOW, Garage, finished, in_the_middle, wait_for
from tests.faults.invariants import assert_whole


def test_a_study_goes_on_elsewhere_after_its_machine_is_gone(
    tmp_path: Path, garage: Garage, database: str, bucket: str
) -> None:
    # The server is one for many tests: a study of its own name.
    name = f"moved-{tmp_path.name[-12:]}".strip("-_")
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    asked = [
        "--resume", "--name", name, "--budget", "4", *ONE, *SLOW, "--storage-path", bucket,
        "--tracking-uri", tracking,
    ]  # fmt: skip
    first = garage.launch(tmp_path / "one", *asked, TUNER_STORAGE=database)
    wait_for(lambda: in_the_middle(database, name, 1), first)
    first.kill()
    shutil.rmtree(tmp_path / "one")
    before = finished(database, name)
    second = garage.launch(tmp_path / "two", *asked, TUNER_STORAGE=database)
    assert second.end() == 0, second.said()
    assert_whole(database, tracking, name, trials=4, before=before)
    # Checkpoints of every trial are in the store, a rung of each.
    found = (
        boto3.Session()
        .client("s3")
        .list_objects_v2(Bucket="runs", Prefix=f"studies/{name}/trials/")
    )
    rungs = {item["Key"].rsplit("/", 1)[0] for item in found["Contents"] if item["Size"]}
    assert {rung.rsplit("/", 2)[-2] for rung in rungs} == {f"{n:04d}" for n in range(4)}
    assert all(rung.endswith("rung-4") for rung in rungs)
