"""Trials whose workers stand on several nodes, which share no files but the storage path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import QUICK, Cluster, running_cluster
from tests.faults.drivers import TINY, Garage, entries_of, wait_for
from tests.faults.invariants import Watched, assert_whole


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_cluster() as made:
        yield made


def test_a_trial_in_workers_on_two_nodes_goes_on_when_one_is_killed(
    cluster: Cluster, garage: Garage, tmp_path: Path
) -> None:
    home, depot = tmp_path / "home", tmp_path / "depot"
    home.mkdir()
    depot.mkdir()
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    victim, _ = cluster.add(home), cluster.add(home)
    with Watched(home):
        driver = garage.launch(
            home, "--name", "group", "--budget", "1", "--parallel", "1",
            "--workers-per-trial", "2", "--cpus-per-worker", "1", "--address", cluster.address,
            *TINY, "--set", "steps=400", "--precision", "float32",
            "--storage", ledger, "--tracking-uri", tracking, "--storage-path", str(depot), **QUICK,
        )  # fmt: skip
        wait_for(lambda: any(entry.records for entry in entries_of(ledger, "group")), driver)
        (entry,) = entries_of(ledger, "group")
        assert entry.state == "running", "the trial was too short to be caught in the middle"
        victim.kill()
        cluster.add(home)
        assert driver.end() == 0, driver.said()
    assert "goes on from rung" in driver.said()
    assert_whole(ledger, tracking, "group", trials=1)
