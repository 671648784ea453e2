from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.study.toys import make_ledger
from tuner.study import heartbeat
from tuner.study.heartbeat import Heartbeat, driven_elsewhere, wait_for_silence


def test_a_driver_is_seen_from_another_machine_while_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "PERIOD", 0.05)
    ledger = make_ledger(tmp_path)
    assert driven_elsewhere(ledger.notes()) is None
    with Heartbeat(ledger):
        first = ledger.notes()["driver"]["time"]
        assert driven_elsewhere(ledger.notes()) is None
        monkeypatch.setattr(heartbeat, "here", lambda: "another")
        assert driven_elsewhere(ledger.notes()) is not None
        time.sleep(0.3)
        assert ledger.notes()["driver"]["time"] > first
    assert driven_elsewhere(ledger.notes()) is None


def test_a_driver_that_fell_silent_is_taken_over_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "STALE", 0.3)
    monkeypatch.setattr(heartbeat, "PERIOD", 0.3)
    ledger = make_ledger(tmp_path)
    ledger.note(driver={"host": "gone", "pid": 1, "time": time.time()})
    assert driven_elsewhere(ledger.notes()) == "gone"
    assert wait_for_silence(ledger, 0.05) is None


def test_a_driver_that_lives_on_keeps_its_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "STALE", 0.2)
    monkeypatch.setattr(heartbeat, "PERIOD", 0.05)
    ledger = make_ledger(tmp_path)
    ledger.note(driver={"host": "alive", "pid": 1, "time": time.time() + 60})
    assert wait_for_silence(ledger, 0.05) == "alive"
