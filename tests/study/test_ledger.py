"""A driver may die between any two writes to the store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import RDBStorage

from tests.study.toys import SPACE, blank, make_conductor, make_ledger, play
from tuner.study import store
from tuner.study.conductor import Conductor
from tuner.study.ledger import Ledger

WRITES = (
    "create_new_trial",
    "set_trial_param",
    "set_trial_intermediate_value",
    "set_trial_state_values",
    "set_trial_system_attr",
    "set_trial_user_attr",
    "set_study_user_attr",
)


class Killed(BaseException):
    """Nothing in the code under test may catch a death."""


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[list[str]]:
    """Let `after` writes pass and die before the next one; yields the names of those done."""
    done: list[str] = []

    def guarded(name: str) -> Any:
        real = getattr(RDBStorage, name)

        def write(self: RDBStorage, *args: Any, **kwargs: Any) -> Any:
            if len(done) >= after:
                raise Killed(name)
            done.append(name)
            return real(self, *args, **kwargs)

        return write

    with monkeypatch.context() as patch:
        for name in WRITES:
            patch.setattr(RDBStorage, name, guarded(name))
        real = store._finish

        def finish(*args: Any) -> None:
            if len(done) >= after:
                raise Killed("finish")
            done.append("finish")
            real(*args)

        patch.setattr(store, "_finish", finish)
        yield done


def quality(spec: Any, rung: int) -> float:
    return float(spec.hyperparameters["rate"]) + 0.01 * rung


def short(ledger: Ledger) -> Conductor:
    """Two trials of two rungs."""
    return make_conductor(ledger, "2", rungs=2, blank=blank(rungs=2))


def test_a_death_at_any_write_loses_no_trial_and_counts_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The store and the study exist: only what happens to trials is at stake.
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    make_ledger(fresh, reduction=None)
    after = 0
    while True:
        folder = tmp_path / str(after)
        shutil.copytree(fresh, folder)
        before: dict[int, Any] = {}
        with dying(monkeypatch, after) as done:
            try:
                ledger = make_ledger(folder, resume=True, reduction=None)
                play(short(ledger), quality)
                died = False
            except Killed:
                died = True
            before = {e.number: e for e in ledger.entries() if e.state == "finished"}
        resumed = make_ledger(folder, resume=True, reduction=None)
        play(short(resumed), quality)
        entries = resumed.entries()
        assert [e.number for e in entries] == [0, 1], done
        assert [e.kind for e in entries] == ["default", "random"], done
        assert entries[0].point == dict(SPACE.defaults)
        for entry in entries:
            assert entry.state == "finished", done
            assert [r["rung"] for r in entry.records] == [1, 2], done
            assert entry.value == pytest.approx(float(entry.point["rate"]) + 0.02), done
            assert entry.number not in before or entry.records == before[entry.number].records
        if not died:
            assert after > 15
            return
        after += 1
