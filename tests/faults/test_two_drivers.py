"""A study that is begun twice: one driver at a time, and one that stood still stays out."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from pathlib import Path

from tests.faults.drivers import ONE, SLOW, Garage, entries_of, finished, in_the_middle, wait_for
from tests.faults.invariants import Watched, assert_whole
from tuner.study.lease import Lease

SILENCE = 8.0
IMPATIENT = {"tuner.study.lease.STALE": SILENCE, "tuner.study.lease.PERIOD": 0.5}


def freeze(pid: int, *databases: Path) -> None:
    """Stop a process, but not while it holds the only write lock of an SQLite file."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        if all(writable(database) for database in databases):
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.05)


def writable(database: Path) -> bool:
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=0.1)) as connection:
            connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True


def silent(ledger: str, study: str) -> bool:
    holder = Lease(ledger, study).holder()
    return holder is not None and holder.silent > SILENCE


def test_a_second_driver_stays_out_until_the_first_is_silent(
    tmp_path: Path, garage: Garage
) -> None:
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    homes = [tmp_path / name for name in ("one", "two", "three")]
    (tmp_path / "depot").mkdir()
    asked = [
        "--resume", "--name", "twice", *ONE, *SLOW,
        "--storage", ledger, "--tracking-uri", tracking, "--storage-path", str(tmp_path / "depot"),
    ]  # fmt: skip
    with Watched(*homes):
        # As long as it takes the others to come.
        first = garage.launch(homes[0], *asked, "--budget", "500", changes=IMPATIENT)
        wait_for(lambda: in_the_middle(ledger, "twice", 1), first)
        # What is sent twice is refused while the first one lives, and spoils nothing.
        second = garage.launch(homes[1], *asked, "--budget", "4", changes=IMPATIENT)
        assert second.end() == 130, second.said()
        assert f"the study twice is being run by process {first.pid}" in second.said()
        assert "tuner status twice" in second.said()
        freeze(first.pid, tmp_path / "ledger.db", tmp_path / "mlflow.db")
        before = finished(ledger, "twice")
        wait_for(lambda: silent(ledger, "twice"))
        # Silent for too long: taken over from, though its process is there still.
        trials = len(entries_of(ledger, "twice")) + 1
        third = garage.launch(homes[2], *asked, "--budget", str(trials), changes=IMPATIENT)
        assert third.end() == 0, third.said()
        assert_whole(ledger, tracking, "twice", trials=trials, before=before)
        os.kill(first.pid, signal.SIGCONT)
        assert first.end() == 130, first.said()
        assert "another driver has taken it over" in first.said()
        assert_whole(ledger, tracking, "twice", trials=trials, before=before)
