"""The tracker against a client that keeps, loses and refuses."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest

from tuner.tracking import Tracker
from tuner.tracking.values import PARAM_LENGTH, TAG_LENGTH

from .fakes import Clock, FakeClient


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


def tracker_of(client: FakeClient, spool: Path | None = None, clock: Clock | None = None):
    return Tracker("fake://", spool=spool, opener=client.opener, clock=clock or Clock())


def one_trial(tracker: Tracker, number: int = 0) -> tuple[str, str]:
    parent = tracker.start_study("s", {"category": "tile"}, {"budget": 3})
    run = tracker.start_trial(parent, number, {"method": "fae"}, {"sigma": 0.1})
    tracker.log_rung(run, 1, {"loss": 2.0, "auroc": math.nan})
    tracker.log_rung(run, 2, {"loss": 1.0, "ratio": math.inf})
    tracker.finish_trial(run, "FINISHED", {"best": 0.5}, {"reason": "done"})
    return parent, run


def test_a_trial_carries_its_study_and_drops_what_is_not_finite(client):
    tracker = tracker_of(client)
    parent, run = one_trial(tracker)
    kept = client.runs[run]
    assert kept["metrics"] == [("loss", 2.0, 1), ("loss", 1.0, 2), ("best", 0.5, 2)]
    assert kept["tags"]["category"] == "tile" and kept["tags"]["method"] == "fae"
    assert kept["tags"]["mlflow.parentRunId"] == parent and kept["tags"]["tuner.trial"] == "0"
    assert kept["params"] == {"sigma": "0.1"} and kept["status"] == "FINISHED"
    assert tracker.pending == 0


def test_a_series_has_steps_of_its_own_and_tags_come_after_the_end(client):
    tracker = tracker_of(client)
    _, run = one_trial(tracker)
    tracker.log_series(run, [(10, {"size": 0.1}), (20, {"size": 0.2, "angle": math.nan})])
    tracker.tag(run, {"warnings": "1"})
    assert tracker.flush()
    kept = client.runs[run]
    assert kept["metrics"][-2:] == [("size", 0.1, 10), ("size", 0.2, 20)]
    assert kept["tags"]["warnings"] == "1" and kept["status"] == "FINISHED"


def test_a_data_set_and_late_parameters_wait_with_the_rest(client, tmp_path):
    spool = tmp_path / "spool.json"
    client.away = True
    tracker = tracker_of(client, spool)
    _, run = one_trial(tracker)
    tracker.log_params(run, {"scoring.pooling": "max"})
    tracker.log_dataset(run, "tile", "abc", "s3://b/data", {"normal": 3})
    tracker.close()
    client.away = False
    later = tracker_of(client, spool)
    assert later.close() == 0
    kept = client.runs["run1"]
    assert kept["params"] == {"sigma": "0.1", "scoring.pooling": "max"}
    ((given,),) = kept["inputs"]
    assert (given.dataset.name, given.dataset.digest) == ("tile", "abc")
    assert json.loads(given.dataset.source) == {"uri": "s3://b/data"}
    assert given.dataset.source_type == "s3" and kept["name"] == "s trial 0"


def test_numbers_go_in_batches_within_the_limits(client):
    tracker = tracker_of(client)
    parent = tracker.start_study("s", {}, {f"p{i}": i for i in range(250)})
    run = tracker.start_trial(parent, 0, {f"t{i}": "x" for i in range(150)}, {})
    before = len(client.calls)
    for rung in range(10):
        tracker.log_rung(run, rung, {f"m{i}": 1.0 * i for i in range(210)})
    assert len(client.calls) == before, "a rung alone asks nothing of the store"
    tracker.finish_trial(run, "FINISHED", {}, {})
    assert client.calls[before:].count("log_batch") == 3
    assert len(client.runs[run]["metrics"]) == 2100
    assert len(client.runs[parent]["params"]) == 250


def test_long_values_are_cut_and_odd_names_cleaned(client):
    tracker = tracker_of(client)
    parent = tracker.start_study("s", {"note": "y" * 9000}, {"a=b": "x" * 7000, "list": [1, 2]})
    tracker.finish_study(parent, {}, {"end": "z" * 9000})
    run = client.runs[parent]
    assert len(run["params"]["a_b"]) == PARAM_LENGTH and run["params"]["list"] == "[1, 2]"
    assert len(run["tags"]["note"]) == len(run["tags"]["end"]) == TAG_LENGTH


def test_resuming_goes_on_in_the_same_runs(client):
    first = one_trial(tracker_of(client))
    again = tracker_of(client)
    assert one_trial(again) == first
    other = again.start_trial(first[0], 1, {}, {})
    assert other not in first and len(client.runs) == 3


def test_a_store_that_is_away_loses_nothing_and_is_left_in_peace(client):
    clock = Clock()
    tracker = tracker_of(client, clock=clock)
    client.away = True
    parent, run = one_trial(tracker)
    assert parent.startswith("pending-") and tracker.resolve(run) is None
    waiting, tried = tracker.pending, len(client.calls)
    assert waiting > 0 and "connection refused" in (tracker.last_error or "")
    client.away = False
    assert not tracker.flush() and len(client.calls) == tried, "the pause is not over"
    clock.now += 1.5
    assert tracker.flush() and tracker.pending == 0
    real = tracker.resolve(run)
    assert real is not None and client.runs[real]["status"] == "FINISHED"
    assert client.runs[real]["tags"]["mlflow.parentRunId"] == tracker.resolve(parent)
    assert [m[0] for m in client.runs[real]["metrics"]] == ["loss", "loss", "best"]


def test_pauses_grow_to_a_minute(client):
    clock = Clock()
    tracker = tracker_of(client, clock=clock)
    client.away = True
    tracker.start_study("s", {}, {})
    tries = []
    while clock.now < 300:
        clock.now += 0.5
        before = tracker._next_try
        tracker.flush()
        if tracker._next_try != before:
            tries.append(clock.now)
    pauses = [b - a for a, b in itertools.pairwise(tries)]
    assert pauses[:3] == [2.0, 4.0, 8.0] and max(pauses) == 60.0


def test_a_store_lost_in_the_middle_of_a_study(client):
    clock = Clock()
    tracker = tracker_of(client, clock=clock)
    parent = tracker.start_study("s", {}, {})
    first = tracker.start_trial(parent, 0, {}, {})
    client.away = True
    tracker.finish_trial(first, "FINISHED", {"a": 1.0}, {})
    second = tracker.start_trial(parent, 1, {}, {"p": 1})
    client.away = False
    tracker.finish_trial(second, "KILLED", {"a": 2.0}, {})
    assert tracker.close() == 0
    assert client.runs[first]["status"] == "FINISHED"
    assert client.runs[tracker.resolve(second)]["status"] == "KILLED"


def test_a_run_made_without_an_answer_is_not_made_twice(client):
    tracker = tracker_of(client)
    parent = tracker.start_study("s", {}, {})
    client.lose_answer = True
    run = tracker.start_trial(parent, 0, {}, {})
    assert run.startswith("pending-")
    assert tracker.close() == 0
    assert len(client.runs) == 2 and tracker.resolve(run) == "run1"


def test_what_is_left_is_spooled_and_written_by_the_next_start(client, tmp_path):
    spool = tmp_path / "study" / "spool.json"
    client.away = True
    tracker = tracker_of(client, spool)
    one_trial(tracker)
    left = tracker.close()
    assert left == tracker.pending > 0 and spool.exists()
    client.away = False
    later = tracker_of(client, spool)
    assert later.pending == left
    assert later.close() == 0 and not spool.exists()
    tags = [run["tags"] for run in client.runs.values()]
    assert tags[1]["mlflow.parentRunId"] == "run0" and len(tags) == 2
    assert client.runs["run1"]["metrics"][-1] == ("best", 0.5, 2)


def test_a_resumed_study_meets_its_own_spool(client, tmp_path):
    spool = tmp_path / "spool.json"
    client.away = True
    earlier = tracker_of(client, spool)
    one_trial(earlier)
    earlier.close()
    client.away = False
    later = tracker_of(client, spool)
    parent, _ = one_trial(later, number=1)
    assert later.close() == 0
    numbers = sorted(r["tags"].get("tuner.trial", "parent") for r in client.runs.values())
    assert numbers == ["0", "1", "parent"]
    parents = {r["tags"].get("mlflow.parentRunId") for r in client.runs.values()} - {None}
    assert parents == {later.resolve(parent)}


def test_a_broken_spool_is_put_aside(client, tmp_path):
    spool = tmp_path / "spool.json"
    spool.write_text('{"format": 1, "runs": {"x": 3}}')
    assert tracker_of(client, spool).pending == 0
    assert not spool.exists() and (tmp_path / "spool.json.broken").exists()


def test_one_refused_value_does_not_take_the_others_with_it(client):
    tracker = tracker_of(client)
    client.refuse_params = {"bad"}
    parent = tracker.start_study("s", {}, {"good": 1, "bad": 2})
    tracker.finish_study(parent, {"m": 1.0}, {})
    assert client.runs[parent]["params"] == {"good": "1"} and tracker.refused == 1
    assert tracker.pending == 0 and client.runs[parent]["status"] == "FINISHED"


def test_files_that_cannot_be_kept_do_not_hold_up_other_runs(client, tmp_path):
    clock = Clock()
    tracker = tracker_of(client, clock=clock)
    parent = tracker.start_study("s", {}, {})
    client.files_away = True
    tracker.log_artifacts(parent, tmp_path, "pictures")
    clock.now += 1.5
    run = tracker.start_trial(parent, 0, {}, {})
    tracker.finish_trial(run, "FINISHED", {"a": 1.0}, {})
    clock.now += 100
    tracker.flush()
    assert client.runs[run]["status"] == "FINISHED" and tracker.pending == 1
    client.files_away = False
    assert tracker.close() == 0
    assert client.runs[parent]["files"] == [(str(tmp_path.resolve()), "pictures")]


def test_a_folder_that_is_gone_is_counted_and_left(client, tmp_path):
    tracker = tracker_of(client)
    parent = tracker.start_study("s", {}, {})
    tracker.log_artifacts(parent, tmp_path / "gone")
    assert tracker.pending == 0 and tracker.refused == 1


def test_a_killed_driver_leaves_what_it_had_when_the_store_failed(client, tmp_path):
    spool = tmp_path / "spool.json"
    client.away = True
    tracker_of(client, spool).start_study("s", {}, {"a": 1})
    client.away = False
    assert tracker_of(client, spool).close() == 0
    assert client.runs["run0"]["params"] == {"a": "1"}


@pytest.mark.parametrize("name", ["", "it's", 'a"b'])
def test_names_that_cannot_be_searched_for(client, name):
    with pytest.raises(ValueError, match="study name"):
        tracker_of(client).start_study(name, {}, {})


def test_a_trial_needs_its_study(client):
    with pytest.raises(ValueError, match="start_study"):
        tracker_of(client).start_trial("abc", 0, {}, {})
