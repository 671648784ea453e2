"""One driver at a time, whatever happens to it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.study.toys import make_ledger, record
from tuner.study import lease
from tuner.study.lease import Lease, LeaseLost, LeaseTaken, driver_of

STUDY = "toy-study"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.heavy)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    found: str = request.getfixturevalue("database")
    return found


def quickly(monkeypatch: pytest.MonkeyPatch, *, stale: float, period: float = 0.05) -> None:
    monkeypatch.setattr(lease, "STALE", stale)
    monkeypatch.setattr(lease, "PERIOD", period)


def test_one_driver_at_a_time(url: str) -> None:
    assert driver_of(url, STUDY) is None
    with Lease(url, STUDY):
        assert driver_of(url, STUDY) is not None
        with pytest.raises(LeaseTaken, match=f"is being run by process {os.getpid()} on"):
            Lease(url, STUDY).__enter__()
        with Lease(url, "another-study"):
            pass
    assert driver_of(url, STUDY) is None
    with Lease(url, STUDY):
        pass


def test_of_many_at_once_one_gets_it(url: str) -> None:
    held, refused, ready = [], [], threading.Barrier(6)

    def start() -> None:
        own = Lease(url, STUDY)
        ready.wait()
        try:
            own.__enter__()
            held.append(own)
        except LeaseTaken:
            refused.append(own)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 5)
    held[0].__exit__(None, None, None)


@pytest.mark.heavy
def test_a_driver_whose_process_is_gone_is_taken_over_from_at_once(url: str) -> None:
    code = (
        "import os, sys\nfrom tuner.study.lease import Lease\n"
        f"Lease(sys.argv[1], {STUDY!r}).__enter__()\nos._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code, url], check=True)
    assert driver_of(url, STUDY) is None
    began = time.monotonic()
    with Lease(url, STUDY):
        assert time.monotonic() - began < lease.PERIOD


def test_a_driver_on_another_machine_keeps_it_while_it_speaks(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch, stale=30.0)
    with Lease(url, STUDY):
        monkeypatch.setattr(lease, "machine", lambda: "another")
        with pytest.raises(LeaseTaken):
            Lease(url, STUDY, pause=0.02).__enter__()


def test_a_silent_driver_is_taken_over_from_and_writes_no_more(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch, stale=0.5, period=30.0)
    first = Lease(url, STUDY)
    first.__enter__()
    mine = make_ledger(tmp_path, url=url, fence=first.fence)
    number = mine.ask(3).number
    mine.report(number, record(number, 1, 0.5), 0.5)
    with monkeypatch.context() as there:
        there.setattr(lease, "machine", lambda: "another")
        with Lease(url, STUDY, pause=0.02) as second:
            theirs = make_ledger(tmp_path, url=url, resume=True, fence=second.fence)
            before = theirs.entries()
            for write in (
                lambda: mine.report(number, record(number, 2, 0.6), 0.6),
                lambda: mine.end(number, "finished", [0.6]),
                lambda: mine.ask(3),
                lambda: mine.note(seconds=1.0),
            ):
                with pytest.raises(LeaseLost, match="another driver"):
                    write()
            assert first.lost and not second.lost
            assert (
                make_ledger(tmp_path, url=url, resume=True, fence=second.fence).entries() == before
            )
            theirs.report(number, record(number, 2, 0.7), 0.7)
        assert [r["criteria"]["quality"] for r in theirs.entry(number).records] == [0.5, 0.7]
    first.__exit__(None, None, None)
    assert driver_of(url, STUDY) is None


def test_a_driver_that_lives_is_seen_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quickly(monkeypatch, stale=0.5)
    with Lease(url, STUDY) as own:
        first = own.holder()
        time.sleep(0.7)
        now = own.holder()
        assert first is not None and now is not None
        assert now.beat > first.beat and not now.gone and not own.lost
