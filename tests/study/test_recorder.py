"""The tracking store is brought up to what the ledger says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.study.toys import blank, make_conductor, make_ledger, play
from tests.tracking.fakes import Clock, FakeClient
from tuner.study.ledger import Entry, Ledger
from tuner.study.recorder import Recorder
from tuner.tracking import Tracker


def recorder_of(client: FakeClient) -> Recorder:
    tracker = Tracker("fake://", opener=client.opener, clock=Clock())
    return Recorder(tracker, tracker.start_study("s", {}, {}))


def params(entry: Entry) -> Mapping[str, object]:
    return {**entry.point, "seed": 0}


def ended(tmp_path: Path) -> Ledger:
    ledger = make_ledger(tmp_path)
    play(make_conductor(ledger, "3", early_stopping=False), lambda spec, rung: 0.5)
    return ledger


def of_trial(client: FakeClient, number: int) -> dict[str, Any]:
    (run,) = (r for r in client.runs.values() if r["tags"].get("tuner.trial") == str(number))
    return run


def rungs(run: Mapping[str, Any]) -> list[int]:
    return [step for name, _, step in run["metrics"] if name == "train_loss"]


def test_what_a_killed_driver_did_not_write_is_written_from_the_ledger(tmp_path: Path) -> None:
    client, ledger = FakeClient(), ended(tmp_path)
    first = recorder_of(client)
    entries = ledger.entries()
    # One trial whole, one of which only a rung was written, one of which nothing was.
    first.settle(entries[:1], params)
    first.started(replace(entries[1], records=()), blank(number=1, method="toy"))
    first.reported(entries[1], entries[1].records[0])
    first.tracker.flush(force=True)
    assert rungs(of_trial(client, 1)) == [1]
    recorder_of(client).settle(entries, params)
    for number in range(3):
        run = of_trial(client, number)
        assert rungs(run) == [1, 2, 3, 4]
        assert run["status"] == "FINISHED" and run["tags"]["tuner.outcome"] == "finished"
        assert run["params"]["seed"] == "0"
    before = client.calls.count("log_batch")
    recorder_of(client).settle(entries, params)
    assert client.calls.count("log_batch") == before


def test_a_resumed_trial_gets_the_rungs_that_went_down_with_its_driver(tmp_path: Path) -> None:
    client, ledger = FakeClient(), ended(tmp_path)
    entry = ledger.entries()[1]
    again = recorder_of(client)
    again.started(entry, blank(number=1, method="toy"))
    again.tracker.flush(force=True)
    assert rungs(of_trial(client, 1)) == [1, 2, 3, 4]
    # Its process is lost: what was told of before is not told twice.
    again.started(entry, blank(number=1, method="toy"))
    again.tracker.flush(force=True)
    assert rungs(of_trial(client, 1)) == [1, 2, 3, 4]


def test_a_trial_that_only_had_to_be_closed_is_written_whole(tmp_path: Path) -> None:
    client, ledger = FakeClient(), ended(tmp_path)
    entry = ledger.entries()[0]
    recorder_of(client).started(replace(entry, records=()), blank(number=0, method="toy"))
    again = recorder_of(client)
    again.ended(entry)
    again.settle(ledger.entries(), params)
    assert rungs(of_trial(client, 0)) == [1, 2, 3, 4]
    assert of_trial(client, 0)["status"] == "FINISHED"


def test_a_look_at_a_run_that_has_ended_leaves_it_ended(tmp_path: Path) -> None:
    client, ledger = FakeClient(), ended(tmp_path)
    recorder_of(client).settle(ledger.entries(), params)
    later = recorder_of(client)
    later.warn(0, ["look"])
    later.tracker.flush(force=True)
    assert of_trial(client, 0)["status"] == "FINISHED"
    assert of_trial(client, 0)["tags"]["tuner.warnings"] == "1"


def test_a_store_that_is_away_is_settled_with_later(tmp_path: Path) -> None:
    client, ledger = FakeClient(), ended(tmp_path)
    recorder = recorder_of(client)
    client.away = True
    recorder.started(ledger.entries()[0], blank(number=0, method="toy"))
    recorder.ended(ledger.entries()[0])
    client.away = False
    recorder.tracker.flush(force=True)
    recorder.settle(ledger.entries(), params)
    assert [rungs(of_trial(client, number)) for number in range(3)] == [[1, 2, 3, 4]] * 3


def test_a_trial_that_was_stopped_early_has_ended_and_older_runs_are_left(tmp_path: Path) -> None:
    client, ledger = FakeClient(), ended(tmp_path)
    stopped = replace(ledger.entries()[0], state="stopped_early", reason="rung 4 of 4")
    recorder_of(client).settle([stopped], params)
    run = of_trial(client, 0)
    assert run["status"] == "FINISHED" and run["name"] == "s trial 0"
    assert run["tags"]["tuner.outcome"] == "stopped_early"
    assert run["tags"]["tuner.reason"] == "rung 4 of 4"
    scoring = {f"scoring.{name}": str(value) for name, value in stopped.last["scoring"].items()}
    assert scoring and scoring.items() <= run["params"].items()
    run["status"] = "KILLED"  # as earlier versions had it
    recorder_of(client).settle([stopped], params)
    assert run["status"] == "KILLED" and rungs(run) == [1, 2, 3, 4]


def test_the_winner_is_marked_and_labels_are_written_once_it_is_chosen(tmp_path: Path) -> None:
    client, ledger = FakeClient(), ended(tmp_path)
    recorder = recorder_of(client)
    recorder.settle(ledger.entries(), params)
    recorder.chosen(1, [])
    recorder.tracker.flush(force=True)
    recorder.chosen(2, [2, 0], before=[1])
    recorder.audited(
        {
            "winner": {"image_auroc": 0.9, "aupro": None},
            "default": {"image_auroc": 0.8},
            "threshold": {"quantile": {"normal_flagged": 0.1, "anomalous_flagged": None}},
            "trials": {"image_auroc": {"0": 0.7, "1": None}},
        }
    )
    recorder.tracker.flush(force=True)
    marks = [of_trial(client, number)["tags"]["tuner.winner"] for number in range(3)]
    assert marks == ["member", "false", "true"]
    assert [m for m in client.runs["run0"]["metrics"] if m[0].startswith("audit.")] == [
        ("audit.winner.image_auroc", 0.9, 0),
        ("audit.default.image_auroc", 0.8, 0),
        ("audit.winner.normal_flagged", 0.1, 0),
    ]
    assert of_trial(client, 0)["metrics"][-1] == ("audit.image_auroc", 0.7, 0)
    assert of_trial(client, 1)["metrics"][-1][0] != "audit.image_auroc"
    assert {of_trial(client, number)["status"] for number in range(3)} == {"FINISHED"}
