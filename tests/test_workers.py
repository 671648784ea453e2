"""Trials in Ray Train's workers: the same numbers as in the trial's own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, Invoke, Run, json_of
from tests.test_faults import ledger_entries

COMMON = ["--parallel", "1", "--precision", "float32", "--json", "--cpus-per-worker", "1", *TINY]


def records(home: Path, study: str) -> list[list[dict[str, Any]]]:
    return [list(entry.records) for entry in ledger_entries(home, study)]


def test_workers_give_the_numbers_of_one_process_and_free_what_they_held(
    tuner: Run, invoke: Invoke, home: Path
) -> None:
    invoke("launch", "--name", "inline", "--budget", "1", "--engine", "local", *COMMON)
    # Two workers take all that a small machine has: were they not freed by a stopped trial, the
    # next one could not start.
    summary = json_of(
        tuner(
            "launch", "--name", "pair", "--budget", "3", "--reduction", "8",
            "--workers-per-trial", "2", *COMMON,
        )
    )  # fmt: skip
    assert sum(summary["trials"].values()) == 3
    assert summary["trials"]["failed"] == 0
    (alone,), (together, *_) = records(home, "inline"), records(home, "pair")
    assert [r["rung"] for r in together] == [1, 2, 3, 4]
    for one, two in zip(alone, together, strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)
        for name, value in one["criteria"].items():
            assert two["criteria"][name] == pytest.approx(value, rel=1e-2, abs=1e-6)
