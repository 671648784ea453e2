from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from tests.study.toys import blank, keep_scores, make_conductor, make_ledger, play, record
from tuner.screen.tables import brief, make_console
from tuner.screen.view import LineView, LiveView
from tuner.study.budget import Budget


def plan(trials: int) -> Any:
    return SimpleNamespace(
        budget=Budget.parse(str(trials)),
        config=SimpleNamespace(rungs=4, engine="ray"),
        layout=SimpleNamespace(parallel=1, device_rate=1.0),
        trial_seconds=10.0,
        ending_seconds=20.0,
    )


def rendered(view: LiveView) -> str:
    console = Console(file=io.StringIO(), width=110)
    console.print(view._draw())
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_the_live_view_stays_small_with_fifty_trials(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    conductor = make_conductor(ledger, "50", rungs=1, blank=blank(rungs=1))
    view = LiveView(Console(file=io.StringIO()), plan(50), conductor, ledger)
    conductor.observe(view)
    spec = conductor.next()
    assert spec is not None
    assert "running" in rendered(view)
    conductor.end(spec.number, "failed", "out of memory: killed")
    assert "out of memory" in rendered(view)
    play(conductor, lambda spec, rung: spec.hyperparameters["rate"])
    text = rendered(view)
    assert text.startswith("50/50 trials · best ") and "left" in text.splitlines()[0]
    assert "value: quality" in text
    assert len(text.splitlines()) <= 12
    assert any(line.startswith("trial  kind") for line in text.splitlines())


def test_lines_say_how_each_trial_ended(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    conductor = make_conductor(ledger, "6")
    console = make_console(io.StringIO())
    view = LineView(console, plan(6), conductor, ledger)
    conductor.observe(view)
    play(conductor, lambda spec, rung: 9.0 - spec.number)
    lines = str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 6
    assert "default   finished" in lines[0]
    assert "step 2/10" in lines[-1]
    assert "6/6 trials · best 9 (trial 0, the defaults with chosen scoring)" in lines[-1]


def test_what_a_library_says_of_a_failure_is_shown_as_it_is(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    conductor = make_conductor(ledger, "2")
    console = make_console(io.StringIO())
    lines = LineView(console, plan(2), conductor, ledger)
    live = LiveView(console, plan(2), conductor, ledger)
    reason = "[/a/file.cc:152] timed out, remote=[::1]:x: [bold]"
    for observer in (lines, live):
        conductor.observe(observer)
    spec = conductor.next()
    assert spec is not None
    conductor.end(spec.number, "failed", reason)
    console.print(live._draw())
    text = str(console.file.getvalue())  # type: ignore[attr-defined]
    assert f"failed        {reason}" in text.splitlines()[0]
    assert text.count(reason[:40]) == 2


def test_warnings_stand_under_a_finished_trial_and_are_counted_for_a_stopped_one(
    tmp_path: Path,
) -> None:
    ledger = make_ledger(tmp_path)
    conductor = make_conductor(ledger, "2")
    console = Console(file=io.StringIO(), width=60)
    lines = LineView(console, plan(2), conductor, ledger)
    live = LiveView(Console(file=io.StringIO()), plan(2), conductor, ledger)
    for observer in (lines, live):
        conductor.observe(observer)
    said = "the learned size lies at its lower bound"
    while (spec := conductor.next()) is not None:
        for rung in range(1, 5):
            told = {**record(spec.number, rung, 0.9 - spec.number), "warnings": [said] * 2}
            if not conductor.report(spec.number, told):
                break
    text = str(console.file.getvalue())  # type: ignore[attr-defined]
    assert text.count(f"warning {said}") == 2
    assert "stopped early" in text.splitlines()[-1] and text.splitlines()[-1].endswith("2 warnings")
    assert f"trial 1 warns: {said}" in rendered(live)
    assert "finished, 2 warnings" in rendered(live)


def test_a_resumed_view_knows_what_ended_before(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    play(make_conductor(ledger, "3"), lambda spec, rung: 0.5)
    again = make_conductor(make_ledger(tmp_path, resume=True), "5")
    view = LiveView(Console(file=io.StringIO()), plan(5), again, ledger)
    assert rendered(view).startswith("3/5 trials · best 0.5 (trial 0")


def test_the_headline_says_how_far_how_good_and_how_long(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path, reduction=None)
    conductor = make_conductor(ledger, "50", folder=lambda number: str(tmp_path / str(number)))
    view = LiveView(Console(file=io.StringIO()), plan(50), conductor, ledger)
    conductor.observe(view)
    # 50 trials of 10 s and an end of 20 s.
    assert rendered(view).splitlines()[0] == "0/50 trials · starting Ray · about 9 min left"
    # Under their own scoring the defaults have 0.4; the best scoring of that trial has 0.5.
    keep_scores(tmp_path / "0", [[1.0]], [[1.0]], {"quality": [0.4]})
    values = iter([0.5, 0.9, 0.7])
    for _ in range(3):
        spec = conductor.next()
        assert spec is not None
        value = next(values)
        # The second one is stopped after its first rung: it was better, and cannot win.
        for rung in range(1, 5):
            conductor.report(spec.number, record(spec.number, rung, value, seconds=5.0))
            if spec.number == 1:
                conductor.end(1, "stopped_early")
                break
    assert conductor.next() is not None
    first, *rest = rendered(view).splitlines()
    # Trials of 20, 5 and 20 s count beside the plan's 10: 47 trials of 13.75 s, and the end.
    assert first == "3/50 trials · best 0.7 (trial 2, +0.3 over the defaults) · about 11 min left"
    assert any("running" in line and "0/10" in line for line in rest)


def test_large_numbers_have_no_exponent() -> None:
    assert [brief(value, 3) for value in (0.69123, -12.34, 999.0, 3025.4)] == [
        "0.691", "-12.3", "999", "3025",
    ]  # fmt: skip
