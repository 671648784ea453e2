"""Trials whose workers stand on several nodes, which share no files but the storage path."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import QUICK, Cluster
from tests.faults.drivers import TINY, Garage, entries_of, wait_for
from tests.faults.invariants import Watched, assert_whole


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "home").mkdir()
    # Paths of Ray's sockets must be short.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made = Cluster(Path(folder) / "r")
        try:
            made.start()
            yield made
        finally:
            made.stop()


def test_a_trial_in_workers_on_two_nodes_goes_on_when_one_is_killed(
    cluster: Cluster, garage: Garage, tmp_path: Path
) -> None:
    home, depot = tmp_path / "home", tmp_path / "depot"
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
