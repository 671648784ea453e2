"""Nodes of a cluster die, or are cut off and come back; their trials go on elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import QUICK, Cluster, Node, running_cluster
from tests.faults.drivers import SLOW, Driver, Garage, entries_of, finished, wait_for
from tests.faults.invariants import Watched, assert_whole

LOST = "lost its process, goes on from rung"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as made:
        made.add()
        yield made


def study(cluster: Cluster, garage: Garage, tmp_path: Path, name: str) -> tuple[Driver, str, str]:
    """A study of four trials, two at once; its driver, ledger and tracking store."""
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    depot = tmp_path / "depot"
    depot.mkdir()
    driver = garage.launch(
        tmp_path / "home", "--name", name, "--budget", "4", "--parallel", "2",
        "--cpus-per-worker", "1", "--address", cluster.address, *SLOW, "--set", "steps=200",
        "--storage", ledger, "--tracking-uri", tracking, "--storage-path", str(depot), **QUICK,
    )  # fmt: skip
    return driver, ledger, tracking


def busy(cluster: Cluster, node: Node, ledger: str, name: str) -> bool:
    """Whether a trial has finished, another is in the middle, and this node is at work."""
    running = [e for e in entries_of(ledger, name) if e.state == "running" and e.records]
    return bool(finished(ledger, name)) and bool(running) and node.works


def test_trials_of_a_killed_node_go_on_on_another(
    cluster: Cluster, garage: Garage, tmp_path: Path
) -> None:
    victim = cluster.add()
    with Watched(tmp_path / "home"):
        driver, ledger, tracking = study(cluster, garage, tmp_path, "killed")
        wait_for(lambda: busy(cluster, victim, ledger, "killed"), driver)
        before = finished(ledger, "killed")
        victim.kill()
        assert driver.end() == 0, driver.said()
    assert LOST in driver.said()
    assert_whole(ledger, tracking, "killed", trials=4, before=before)


def test_a_node_that_was_cut_off_and_comes_back_spoils_nothing(
    cluster: Cluster, garage: Garage, tmp_path: Path
) -> None:
    victim = cluster.add()
    with Watched(tmp_path / "home"):
        driver, ledger, tracking = study(cluster, garage, tmp_path, "cut")
        wait_for(lambda: busy(cluster, victim, ledger, "cut"), driver)
        before = finished(ledger, "cut")
        victim.cut()
        # Its trial is given up and goes on elsewhere; only then is the wire whole again.
        wait_for(lambda: LOST in driver.said(), driver)
        victim.heal()
        assert driver.end() == 0, driver.said()
    assert_whole(ledger, tracking, "cut", trials=4, before=before)
    # Its process had been given up: it may not join again as if nothing had been.
    wait_for(lambda: victim.gone or not victim.works)
