from __future__ import annotations

from pathlib import Path

import pytest

from tests.study.toys import (
    COST,
    QUALITY,
    SPACE,
    Clock,
    make_conductor,
    make_ledger,
    play,
    record,
)
from tuner.study.selection import NoWinner, select
from tuner.study.trial import TrialSpec


def rate(spec, rung):  # type: ignore[no-untyped-def]
    return spec.hyperparameters["rate"] + 0.01 * rung


def test_first_trial_is_the_default_and_the_budget_is_kept(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    numbers = play(make_conductor(ledger, "7"), rate)
    assert numbers == list(range(7))
    entries = ledger.entries()
    assert entries[0].kind == "default"
    assert entries[0].point == dict(SPACE.defaults)
    assert [entry.kind for entry in entries[1:4]] == ["random"] * 3
    assert {entry.kind for entry in entries[4:]} == {"search"}


def test_default_is_never_stopped_early_and_the_weak_are(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    play(make_conductor(ledger, "12"), lambda spec, rung: -float(spec.number == 0) - spec.number)
    entries = ledger.entries()
    assert entries[0].state == "finished"
    assert all(entry.state == "stopped_early" for entry in entries[2:])
    assert all(entry.rung == 1 for entry in entries[2:])


def test_early_stopping_can_be_switched_off(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    play(make_conductor(ledger, "5", early_stopping=False), lambda spec, rung: -spec.number)
    assert {entry.state for entry in ledger.entries()} == {"finished"}


def test_same_seed_same_study(tmp_path: Path) -> None:
    points = []
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
        ledger = make_ledger(tmp_path / part, seed=3)
        play(make_conductor(ledger, "9"), rate)
        points.append([entry.point for entry in ledger.entries()])
    assert points[0] == points[1]


def test_wall_time_is_not_overrun_by_more_than_the_trial_in_flight(tmp_path: Path) -> None:
    clock = Clock()
    ledger = make_ledger(tmp_path)
    conductor = make_conductor(ledger, "10s", clock, early_stopping=False)
    play(conductor, rate, clock)
    # Trials of four seconds: the third begins at 8 s and is the last.
    assert len(ledger.entries()) == 3
    assert conductor.spent().seconds == 12


def test_device_time_counts_what_trials_report(tmp_path: Path) -> None:
    clock = Clock()
    ledger = make_ledger(tmp_path)
    play(make_conductor(ledger, "10s", clock, early_stopping=False), rate, clock)
    conductor = make_conductor(ledger, "10s", clock)
    assert conductor.spent().device_seconds == 12


def test_a_killed_driver_loses_nothing_and_downtime_is_free(tmp_path: Path) -> None:
    clock = Clock()
    ledger = make_ledger(tmp_path)
    conductor = make_conductor(ledger, "5", clock)
    first = conductor.next()
    assert first is not None
    for rung in (1, 2, 3, 4):
        clock.now += 1
        conductor.report(first.number, record(first.number, rung, 0.5))
    second = conductor.next()
    assert second is not None
    clock.now += 1
    conductor.report(second.number, record(second.number, 1, 0.9))
    # The driver dies here; a day later another one takes over.
    later = Clock()
    later.now = 86400.0
    ledger = make_ledger(tmp_path, resume=True)
    again = make_conductor(ledger, "5", later)
    assert again.spent().seconds == pytest.approx(5)
    spec = again.next()
    assert spec is not None
    assert (spec.number, spec.after_rung) == (second.number, 1)
    assert dict(spec.hyperparameters) == dict(second.hyperparameters)
    again.report(spec.number, record(spec.number, 2, 0.95))
    again.report(spec.number, record(spec.number, 3, 0.95))
    again.report(spec.number, record(spec.number, 4, 0.95))
    play(again, rate, later)
    entries = ledger.entries()
    assert len(entries) == 5
    assert [r["rung"] for r in entries[second.number].records] == [1, 2, 3, 4]


def test_a_trial_whose_driver_died_after_the_last_rung_is_finished(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    conductor = make_conductor(ledger, "1")
    spec = conductor.next()
    assert spec is not None
    for rung in (1, 2, 3, 4):
        ledger.report(spec.number, record(spec.number, rung, 0.5), 0.5)
    ledger = make_ledger(tmp_path, resume=True)
    assert make_conductor(ledger, "1").next() is None
    assert ledger.entry(spec.number).state == "finished"
    assert ledger.entry(spec.number).value == 0.5


def test_failures_are_recorded_with_their_reason_and_the_study_goes_on(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    conductor = make_conductor(ledger, "3")
    spec = conductor.next()
    assert spec is not None
    assert not conductor.report(spec.number, {"number": 0, "rung": 0, "failed": "diverged: nan"})
    other = conductor.next()
    assert other is not None
    conductor.end(other.number, "failed", "the process of the trial died")
    conductor.end(other.number, "finished")
    play(conductor, rate)
    entries = ledger.entries()
    assert [entry.state for entry in entries[:2]] == ["failed", "failed"]
    assert entries[0].reason == "diverged: nan"
    assert entries[1].reason == "the process of the trial died"
    assert entries[2].state in ("finished", "stopped_early")


def test_an_undefined_criterion_stops_a_trial_and_never_wins(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    play(make_conductor(ledger, "3"), lambda spec, rung: None)
    assert {entry.state for entry in ledger.entries()} == {"stopped_early"}
    with pytest.raises(NoWinner, match="quality leads, but is undefined for all 3 trials"):
        select(ledger.entries(), [QUALITY])


def test_a_stopped_trial_never_outranks_a_finished_one(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    play(make_conductor(ledger, "2"), lambda spec, rung: 0.9 - 0.1 * spec.number)
    assert ledger.entries()[1].state == "stopped_early"
    assert select(ledger.entries(), [QUALITY])[0].number == 0


def test_pareto_keeps_both_directions_and_stops_nothing(tmp_path: Path) -> None:
    names = [QUALITY.name, COST.name]
    ledger = make_ledger(tmp_path, directions=["maximize", "minimize"], names=names, reduction=None)
    assert ledger._study.metric_names == names
    conductor = make_conductor(ledger, "6", objectives=[QUALITY, COST])
    play(conductor, rate)
    entries = ledger.entries()
    assert {entry.state for entry in entries} == {"finished"}
    # Quality and cost are the same number here, so every trial is on the front.
    assert sorted(ledger.front()) == [0, 1, 2, 3, 4, 5]
    assert select(entries, [QUALITY, COST], ledger.front())[0].number in ledger.front()


def test_two_methods_share_one_study(tmp_path: Path) -> None:
    from dataclasses import replace

    from tuner.study.conductor import Conductor

    other = replace(
        SPACE, method="other", drawn={"rate": SPACE.drawn["rate"]}, defaults={"rate": 0.1}
    )
    ledger = make_ledger(tmp_path, spaces=[SPACE, other])
    single = make_conductor(ledger, "12")
    conductor = Conductor(ledger, [SPACE, other], single._terms)
    play(conductor, rate)
    entries = ledger.entries()
    assert [entry.method for entry in entries[:2]] == ["toy", "other"]
    assert [entry.kind for entry in entries[:2]] == ["default", "default"]
    assert {entry.method for entry in entries} == {"toy", "other"}


class Witness:
    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []

    def started(self, entry, spec):  # type: ignore[no-untyped-def]
        self.events.append(("started", entry.number))

    def reported(self, entry, record):  # type: ignore[no-untyped-def]
        self.events.append(("reported", entry.number))

    def ended(self, entry):  # type: ignore[no-untyped-def]
        self.events.append(("ended", entry.number))


def test_observers_see_each_end_once(tmp_path: Path) -> None:
    witness = Witness()
    conductor = make_conductor(make_ledger(tmp_path), "2", observers=[witness])
    play(conductor, rate)
    conductor.end(0, "finished")
    assert witness.events.count(("ended", 0)) == 1
    assert witness.events[0] == ("started", 0)


def test_a_trial_whose_process_was_lost_goes_on_from_its_last_rung(tmp_path: Path) -> None:
    clock, ledger = Clock(), make_ledger(tmp_path)
    conductor = make_conductor(ledger, "2", clock, early_stopping=False)
    spec = conductor.next()
    assert spec is not None
    conductor.report(spec.number, record(spec.number, 1, 0.5))
    clock.now += 3
    conductor.lost(spec.number, "the process of the trial died")
    assert not conductor.live and ledger.entry(spec.number).state == "running"
    again = conductor.next()
    assert again is not None
    assert (again.number, again.after_rung) == (spec.number, 1)
    for rung in (2, 3, 4):
        conductor.report(again.number, record(again.number, rung, 0.5))
    play(conductor, rate)
    entries = ledger.entries()
    assert [entry.state for entry in entries] == ["finished", "finished"]
    assert [r["rung"] for r in entries[0].records] == [1, 2, 3, 4]
    # Four seconds by its records, and two more that went down with its process.
    assert conductor.spent().device_seconds == pytest.approx(4 + 2 + 4)
    later = make_conductor(make_ledger(tmp_path, resume=True), "2", Clock())
    assert later.spent().device_seconds == pytest.approx(10)


def test_a_trial_that_is_lost_again_and_again_at_one_rung_has_failed(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    conductor = make_conductor(ledger, "2")
    assert conductor.next() is not None
    for rung in (1, 2):
        for _ in range(2):
            conductor.lost(0, "the process of the trial died")
            again = conductor.next()
            assert again is not None and again.number == 0
        conductor.report(0, record(0, rung, 0.5))
    for _ in range(3):
        conductor.lost(0, "the process of the trial died")
        following = conductor.next()
    assert following is not None and following.number == 1
    assert (ledger.entry(0).state, ledger.entry(0).rung) == ("failed", 2)
    assert ledger.entry(0).reason == "the process of the trial died"
    conductor.lost(0, "told late")
    assert ledger.entry(0).state == "failed"


def test_what_cannot_be_kept_stops_the_study_and_fails_no_trial(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    conductor = make_conductor(ledger, "4")
    first, second = conductor.next(), conductor.next()
    assert first is not None and second is not None
    assert not conductor.report(first.number, {"number": 0, "rung": 0, "unkept": "disk is full"})
    assert conductor.trouble == "disk is full" and conductor.next() is None
    # The other one is written down once more, and stopped as well.
    assert not conductor.report(second.number, record(second.number, 1, 0.5))
    assert not conductor.live
    assert [entry.state for entry in ledger.entries()] == ["running", "running"]
    ledger = make_ledger(tmp_path, resume=True)
    play(make_conductor(ledger, "4"), rate)
    assert len(ledger.entries()) == 4
    assert {entry.state for entry in ledger.entries()} <= {"finished", "stopped_early"}


def test_what_travels_of_a_trial_makes_the_whole_one_again(tmp_path: Path) -> None:
    conductor, kinds = make_conductor(make_ledger(tmp_path), "3", replicates=1), []

    def travelled(spec: TrialSpec, rung: int) -> float:
        template = conductor.templates["toy"]
        own = spec.own(template)
        assert template.become(own) == spec
        # Settings are many and the same for all: they travel once.
        assert "pooling" not in own
        kinds.append(spec.training_seed is None)
        return rate(spec, rung)

    play(conductor, travelled)
    assert set(kinds) == {True, False}
