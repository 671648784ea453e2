from __future__ import annotations

import pytest

from tuner.study.budget import Budget, Spent


@pytest.mark.parametrize(
    ("text", "kind", "amount", "device"),
    [
        ("50", "trials", 50, ""),
        ("90s", "seconds", 90, ""),
        ("45m", "seconds", 2700, ""),
        ("2h", "seconds", 7200, ""),
        ("1.5h", "seconds", 5400, ""),
        ("6gpuh", "device_seconds", 21600, "gpu"),
        ("8CPUh", "device_seconds", 28800, "cpu"),
    ],
)
def test_parse(text: str, kind: str, amount: float, device: str) -> None:
    assert Budget.parse(text) == Budget(kind, amount, device)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "0", "-5", "2.5", "5 lightyears", "gpuh", "1e3"])
def test_bad_budgets_are_refused_with_their_value(text: str) -> None:
    with pytest.raises(ValueError, match="budget is"):
        Budget.parse(text)


def test_exhausted_by_its_own_measure_only() -> None:
    budget = Budget.parse("10s")
    assert not budget.exhausted(Spent(trials=1000, seconds=9.9, device_seconds=1000))
    assert budget.exhausted(Spent(trials=0, seconds=10, device_seconds=0))
