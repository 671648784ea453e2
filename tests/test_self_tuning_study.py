"""Self-tuning trials beside search trials in one study, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.conftest import Invoke, json_of, write_mvtec
from tests.test_faults import ledger_entries
from tuner.job import resume
from tuner.status import study_status
from tuner.study.home import Home, StudyFolder

OPTIONS = [
    "--engine", "local", "--method", "fae,st-ssad", "--size", "32", "--set", "steps=12",
    "--set", "width=4", "--set", "batch_size=4", "--rungs", "3", "--random-trials", "0",
    "--category", "part", "--precision", "float32", "--cpus-per-worker", "1", "--json",
]  # fmt: skip


def runs_of(summary: dict[str, Any]) -> dict[int, Any]:
    """The tracking store's runs by trial."""
    client = MlflowClient(tracking_uri=summary["tracking"])
    experiment = client.get_experiment_by_name("tuner")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=100)
    return {int(r.data.tags["tuner.trial"]): r for r in found if "tuner.trial" in r.data.tags}


@pytest.mark.heavy
def test_both_kinds_of_trial_compete_and_what_is_learned_re_enters(
    invoke: Invoke, home: Path, tmp_path: Path
) -> None:
    data = str(write_mvtec(tmp_path / "data"))
    asked = ["--data", data, "--name", "both", "--budget", "7", "--no-export", *OPTIONS]
    summary = json_of(invoke("launch", *asked))
    entries = ledger_entries(home, "both")
    assert [entry.number for entry in entries] == list(range(7))
    assert [e.method for e in entries[:5]] == ["fae", *["st-ssad"] * 4]
    assert [e.kind for e in entries[:5]] == ["default", "default", *["sibling"] * 3]
    assert summary["trials"]["failed"] == 0
    learned = [entry for entry in entries if entry.kind == "learned"]
    assert learned
    for entry in learned:
        found = entries[entry.origin or 0].learned
        if entry.method == "st-ssad":
            assert entry.point == found
        else:
            assert entry.point["cutdiff_share"] == 1.0
            assert entry.point["cutdiff_size"] == found["initial_size"]

    (group,) = summary["groups"]
    assert [member["trial"] for member in group["members"]] == [1, 2, 3, 4]
    assert group["chosen"] in (1, 2, 3, 4)
    warned = {warning["trial"] for warning in summary["warnings"]}
    folder = StudyFolder(Path(summary["folder"]))
    assert json.loads(folder.summary.read_text())["warnings"] == summary["warnings"]

    runs, client = runs_of(summary), MlflowClient(tracking_uri=summary["tracking"])
    for entry in entries:
        assert runs[entry.number].data.tags["tuner.kind"] == entry.kind
        told = runs[entry.number].data.tags.get("tuner.warnings", "0") != "0"
        assert told == (entry.number in warned)
    run = runs[1].info.run_id
    by_rung = client.get_metric_history(run, "tuned.size")
    assert [point.step for point in by_rung] == [1, 2, 3]
    by_step = client.get_metric_history(run, "trajectory.size")
    assert [point.step for point in by_step] == sorted({p.step for p in by_step})
    assert len(by_step) > 3 and by_step[-1].step == 12
    ranked = [n for n in runs if client.list_artifacts(runs[n].info.run_id, "detector")]
    for number in ranked:
        drawn = {f.path for f in client.list_artifacts(runs[number].info.run_id, "pictures")}
        strip = "pictures/augmentation.png" in drawn
        assert strip == (entries[number].method == "st-ssad")

    status = study_status("both", Home(home))
    assert status["groups"] == summary["groups"]
    assert status["trials"][1]["group"] == "st-ssad starts"
    again = resume("both", Home(home))
    assert again["winner"] == summary["winner"] and again["warnings"] == summary["warnings"]
