"""What holds whatever happens to a study: nothing lost, nothing twice, the budget held."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.faults.drivers import entries_of
from tuner.study.ledger import Entry
from tuner.tracking.store import make_client

STATUS = {"finished": "FINISHED", "stopped_early": "FINISHED", "failed": "FAILED"}


def assert_whole(
    url: str,
    tracking: str,
    study: str,
    *,
    trials: int,
    before: Sequence[Entry] = (),
    failed: int = 0,
    rungs: int = 4,
) -> None:
    """An ended study of so many trials: in the ledger, and each once in the tracking store.

    `before` are trials that had finished before the fault: not a word of them may have changed.
    """
    entries = entries_of(url, study)
    assert [entry.number for entry in entries] == list(range(trials))
    for entry in before:
        assert entries[entry.number] == entry
    for entry in entries:
        got = [record["rung"] for record in entry.records]
        assert got == list(range(1, len(got) + 1)), f"trial {entry.number} reports {got}"
        assert entry.state in STATUS, f"trial {entry.number} is {entry.state}"
        assert entry.state != "finished" or len(got) == rungs
    assert sum(entry.state == "failed" for entry in entries) == failed
    _assert_tracked(entries, tracking, study)


def _assert_tracked(entries: Sequence[Entry], tracking: str, study: str) -> None:
    client = make_client(tracking)
    experiment = client.get_experiment_by_name("tuner").experiment_id
    runs = client.search_runs([experiment], f"tags.`tuner.study` = '{study}'", max_results=1000)
    numbers = sorted(int(run.data.tags.get("tuner.trial", -1)) for run in runs)
    assert numbers == [-1, *(entry.number for entry in entries)]
    for run in runs:
        number = int(run.data.tags.get("tuner.trial", -1))
        if number < 0:
            assert run.info.status == "FINISHED"
            continue
        entry = entries[number]
        assert run.info.status == STATUS[entry.state], f"trial {number} is {run.info.status}"
        assert run.data.tags["tuner.outcome"] == entry.state
        assert "seed" in run.data.params
        if entry.records:
            points = client.get_metric_history(run.info.run_id, "train_seconds")
            assert sorted(point.step for point in points) == [r["rung"] for r in entry.records]


class Watched:
    """Watches how far the files of trials are, as long as it lasts: work must not be repeated."""

    def __init__(self, *homes: Path) -> None:
        self._homes, self._over = homes, threading.Event()
        self._seen: dict[Path, list[int]] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        if kind is None:
            for file, rungs in self._seen.items():
                best = 0
                for rung in rungs:
                    assert rung >= best - 1, f"{file} went from rung {best} back to {rung}"
                    best = max(best, rung)

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            for home in self._homes:
                for file in home.glob("studies/*/trials/*/rungs.jsonl"):
                    self._look(file)

    def _look(self, file: Path) -> None:
        try:
            rung = file.read_text().count("\n")
        except OSError:
            return
        seen = self._seen.setdefault(file, [])
        if rung and (not seen or seen[-1] != rung):
            seen.append(rung)
