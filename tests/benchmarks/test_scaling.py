"""What the benchmarks of scaling say of what they saw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from methods.registry import METHODS, get_method
from search_spaces.loader import load_search_space
from tuner.study.space import build_space


@pytest.fixture
def idle() -> Iterator[Any]:
    """The method that waits, known while a test lasts."""
    import idle

    METHODS.known.setdefault("idle", idle.Idle())
    yield idle
    METHODS.known.pop("idle")


def test_waiting_trials_are_of_the_usual_size(idle: Any) -> None:
    space = load_search_space(str(idle.SPACE))
    built = build_space(get_method("idle"), space, "cpu", {})
    assert len(built.drawn) == 13 and len(built.grid) == 75


def test_overhead_and_growth_of_memory(idle: Any) -> None:
    from engine_scaling import told

    # A second of wall time and a tenth of the processor's a trial, half a megabyte from the 50th.
    rows = [(float(n), 0.1 * n, 300 + 0.5 * max(0, n - 50)) for n in range(201)]
    summary = {"trials": {"finished": 200}, "trial_seconds": 100.0, "seconds": 230.0}
    found = told(rows, summary, parallel=2)
    assert found["wall_seconds_per_trial"] == found["wall_seconds_per_trial_of_the_last"] == 1.0
    assert found["driver_processor_seconds_per_trial"] == pytest.approx(0.1)
    assert found["overhead_seconds_per_trial"] == pytest.approx(0.75)
    assert found["driver_mb_per_trial"] == pytest.approx(0.5)
    assert found["seconds_after_the_search"] == 30.0


def test_a_study_that_lost_something_is_not_kept(idle: Any) -> None:
    from cluster_study import kept

    whole = {
        "trials": 20, "runs_of_trials": 20, "by_state": {"finished": 8, "stopped_early": 12},
        "numbers_twice": 0, "ended_trials_that_changed": 0, "rungs_recorded_twice": 0,
        "rungs_missing": 0, "runs_twice": 0, "runs_without_an_end": 0,
    }  # fmt: skip
    assert kept(whole)
    for broken in (
        {"trials": 19}, {"runs_of_trials": 21}, {"by_state": {"finished": 19, "failed": 1}},
        {"rungs_recorded_twice": 1}, {"runs_without_an_end": 1},
    ):  # fmt: skip
        assert not kept({**whole, **broken})
