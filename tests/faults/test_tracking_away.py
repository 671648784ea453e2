"""The tracking store goes away in the middle of a study, and comes back."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.faults.drivers import ONE, SLOW, Garage, finished, in_the_middle, wait_for
from tests.faults.invariants import assert_whole
from tests.faults.servers import free_port, start_mlflow


def test_results_wait_for_a_server_that_is_away(tmp_path: Path, garage: Garage) -> None:
    ledger, port = f"sqlite:///{tmp_path / 'ledger.db'}", free_port()
    tracking = f"http://127.0.0.1:{port}"
    server = start_mlflow(garage, tmp_path / "mlflow", port)
    driver = garage.launch(
        tmp_path / "home", "--name", "patient", "--budget", "5", *ONE, *SLOW,
        "--storage", ledger, "--tracking-uri", tracking,
    )  # fmt: skip
    wait_for(lambda: in_the_middle(ledger, "patient", 1), driver)
    server.kill()
    # Away altogether, the study goes on and keeps what it finds.
    wait_for(lambda: len(finished(ledger, "patient")) >= 3, driver)
    assert (tmp_path / "home" / "studies" / "patient" / "tracking-spool.jsonl").is_file()
    server = start_mlflow(garage, tmp_path / "mlflow", port)
    # There, but not answering: the study does not stand still with it.
    os.kill(server.pid, signal.SIGSTOP)
    wait_for(lambda: len(finished(ledger, "patient")) >= 5, driver)
    os.kill(server.pid, signal.SIGCONT)
    assert driver.end() == 0, driver.said()
    assert_whole(ledger, tracking, "patient", trials=5)
    assert not (tmp_path / "home" / "studies" / "patient" / "tracking-spool.jsonl").exists()
