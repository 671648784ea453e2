"""The tracker against MLflow's own SQLite store."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.addresses import sqlite_path
from tuner.study.home import Home
from tuner.tracking import Tracker, default_artifacts, default_uri
from tuner.tracking.store import artifacts_of, make_client
from tuner.viewers import runs_page

STARTER = """
import sys
from pathlib import Path
from tuner.tracking import Tracker, default_artifacts, default_uri
home, name = Path(sys.argv[1]), sys.argv[2]
import mlflow
print("ready", flush=True)
sys.stdin.readline()
tracker = Tracker(default_uri(home), default_artifacts(home), "shared")
parent = tracker.start_study(name, {}, {"a": 1})
for number in range(3):
    run = tracker.start_trial(parent, number, {}, {"n": number})
    tracker.log_rung(run, 1, {"loss": 1.0})
    tracker.finish_trial(run, "FINISHED", {}, {})
tracker.finish_study(parent, {}, {})
left = tracker.close()
print(tracker.last_error, file=sys.stderr)
sys.exit(left)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


def shared(home: Path, **options) -> Tracker:
    return Tracker(default_uri(home), default_artifacts(home), "shared", **options)


@pytest.mark.heavy
def test_two_processes_start_at_once_on_a_fresh_store(home):
    command = [sys.executable, "-W", "ignore", "-c", STARTER, str(home)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen([*command, name], text=True, **pipes) for name in ("one", "two")]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out == "", "nothing may go to standard output"
        assert err.strip() == "None", "no fault was met, and MLflow kept quiet"
    client = make_client(default_uri(home))
    experiment = client.get_experiment_by_name("shared")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 8 and {run.info.status for run in runs} == {"FINISHED"}


def test_a_study_is_written_resumed_and_read_back(home, tmp_path, capfd):
    tracker = shared(home)
    parent = tracker.start_study("whole", {"category": "tile"}, {"budget": 2})
    run = tracker.start_trial(parent, 0, {"method": "fae"}, {"sigma": 0.25})
    for rung in (1, 2):
        tracker.log_rung(run, rung, {"loss": 1.0 / rung})
    (tmp_path / "note.txt").write_text("hello")
    tracker.log_artifacts(run, tmp_path, "notes")
    tracker.finish_trial(run, "KILLED", {"value": 0.5}, {"reason": "early"})
    assert tracker.close() == 0 and tracker.refused == 0

    resumed = shared(home)
    assert resumed.start_study("whole", {"category": "tile"}, {"budget": 2}) == parent
    assert resumed.start_trial(parent, 0, {"method": "fae"}, {"sigma": 0.5}) == run
    resumed.finish_trial(run, "FINISHED", {}, {})
    resumed.finish_study(parent, {"trials": 1}, {})
    assert resumed.close() == 0 and resumed.refused == 1, "a parameter never changes"

    client = make_client(default_uri(home))
    kept = client.get_run(run)
    assert kept.info.status == "FINISHED" and kept.data.params == {"sigma": "0.25"}
    assert kept.data.tags["mlflow.parentRunId"] == parent
    assert kept.data.tags["category"] == "tile" and kept.data.tags["reason"] == "early"
    history = client.get_metric_history(run, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5)]
    assert [f.path for f in client.list_artifacts(run, "notes")] == ["notes/note.txt"]
    assert kept.info.artifact_uri.startswith(default_artifacts(home))
    assert capfd.readouterr().out == ""


def test_a_deleted_experiment_comes_back(home):
    client = make_client(default_uri(home))
    first = Tracker(default_uri(home), None, "forgotten")
    first.start_study("a", {}, {})
    experiment = client.get_experiment_by_name("forgotten")
    client.delete_experiment(experiment.experiment_id)
    second = Tracker(default_uri(home), None, "forgotten")
    second.start_study("b", {}, {})
    assert second.pending == 0
    assert client.get_experiment_by_name("forgotten").lifecycle_stage == "active"


def test_a_server_that_is_away_does_not_hold_up_the_driver(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spool = tmp_path / "spool.json"
    tracker = Tracker(f"http://127.0.0.1:{port}", None, "x", spool=spool)
    parent = tracker.start_study("s", {}, {})
    run = tracker.start_trial(parent, 0, {}, {})
    tracker.finish_trial(run, "FINISHED", {"a": 1.0}, {})
    assert tracker.close() > 0 and spool.exists()


def test_a_server_comes_back_as_another_store(home, tmp_path):
    """What was spooled for a store that was away is written once there is one."""
    spool = tmp_path / "spool.json"
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    away = Tracker(f"sqlite:///{blocked}/mlflow.db", None, "shared", spool=spool)
    run = away.start_trial(away.start_study("late", {}, {}), 0, {}, {"p": 1})
    away.finish_trial(run, "FINISHED", {"a": 1.0}, {})
    assert away.close() > 0
    back = shared(home, spool=spool)
    assert back.close() == 0 and not spool.exists()
    client = make_client(default_uri(home))
    experiment = client.get_experiment_by_name("shared")
    found = client.search_runs([experiment.experiment_id], "tags.`tuner.study` = 'late'")
    assert sorted(r.info.status for r in found) == ["FINISHED", "RUNNING"]


def test_where_an_sqlite_store_lies(tmp_path):
    assert sqlite_path(default_uri(tmp_path)) == tmp_path / "mlflow.db"
    assert sqlite_path("http://host:5000") is None
    assert artifacts_of(default_uri(tmp_path)) == default_artifacts(tmp_path)
    assert artifacts_of("http://host:5000") is None


def test_files_of_a_database_lie_beside_it_whatever_folder_the_process_is_in(
    tmp_path, monkeypatch, home
):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    shutil.copy(home / "mlflow.db", tmp_path / "there" / "own.db")  # making tables takes seconds
    monkeypatch.chdir(tmp_path / "here")
    uri = "sqlite:///../there/own.db"
    tracker = Tracker(uri, artifacts_of(uri), "beside")
    run = tracker.start_trial(tracker.start_study("s", {}, {}), 0, {}, {})
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "note.txt").write_text("hello")
    tracker.log_artifacts(run, tmp_path / "notes", "notes")
    assert tracker.close() == 0
    assert list((tmp_path / "there" / "artifacts").rglob("note.txt"))
    assert not list((tmp_path / "here").iterdir())


def test_the_page_of_one_study_and_nothing_where_no_store_is(tmp_path):
    home = Home(tmp_path / "home")
    assert runs_page(home, None) == "" and not (home.path / "mlflow.db").exists()
    uri = default_uri(home.path)
    Tracker(uri, default_artifacts(home.path)).start_study("lids-1", {}, {})
    page = runs_page(home, None)
    experiment = make_client(uri).get_experiment_by_name("tuner").experiment_id
    assert page == f"/#/experiments/{experiment}/runs?workflowType=machine_learning"
    (home.path / "artifacts").mkdir(exist_ok=True)
    moved = Home(tmp_path / "elsewhere")
    home.path.rename(moved.path)
    assert runs_page(moved, None) == page
    (run,) = make_client(default_uri(moved.path)).search_runs([experiment])
    assert run.info.artifact_uri.startswith(default_artifacts(moved.path))
