"""A whole study whose winner is chosen by criteria of all its trials, begun with given points."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import write_mvtec
from tests.test_faults import ledger_entries
from tuner.job import launch
from tuner.status import study_status
from tuner.study.config import StudyConfig
from tuner.study.home import Home
from tuner.study.ledger import WarmPoint
from tuner.study.warm_start import keep_warm_points

pytestmark = pytest.mark.heavy


def test_warm_points_first_and_all_criteria_select(home: Path, tmp_path: Path) -> None:
    where = Home(home)
    config = StudyConfig(
        name="both", category="part", data=str(write_mvtec(tmp_path / "data")), budget="3",
        methods=("fae",),
        criterion="borda", warm_start="another", engine="local", cpus_per_worker=1, rungs=1,
        random_trials=1, precision="float32", size=(32, 32), export=False,
        pins={"steps": 4, "width": 4, "batch_size": 4},
    )  # fmt: skip
    where.study("both").path.mkdir(parents=True)
    point = WarmPoint("fae", {"noise_sigma": 0.1}, "another trial 7")
    keep_warm_points(where.study("both").warm_start, [point])
    summary = launch(config, where)
    entries = ledger_entries(home, "both")
    assert [entry.kind for entry in entries] == ["default", "warm", "random"]
    assert entries[1].source == "another trial 7" and entries[1].point["noise_sigma"] == 0.1
    winner, criteria = summary["winner"], summary["audit"]["criteria"]
    assert winner["selected_by"] == "borda" and winner["trial"] == criteria["borda"]["pick"]
    assert winner["study_criteria"]["borda"] > 0
    assert summary["reliability"] == study_status("both", where)["reliability"]
    assert "only 3 trials" in " ".join(summary["reliability"]["reasons"])


def test_images_of_one_kind_end_in_a_report_that_says_so(home: Path, tmp_path: Path) -> None:
    data = write_mvtec(tmp_path / "data")
    for folder in ("test/blot", "ground_truth"):
        shutil.rmtree(data / "part" / folder)
    config = StudyConfig(
        name="good", category="part", data=str(data), budget="1", methods=("filter-memory",),
        engine="local", cpus_per_worker=1, rungs=1, precision="float32", size=(32, 32),
        export=False,
    )  # fmt: skip
    summary = launch(config, Home(home))
    audit = summary["audit"]
    assert audit["counts"]["anomalous"] == 0 and audit["winner"]["image_auroc"] is None
    assert audit["threshold"]["quantile"]["anomalous_flagged"] is None
    # A method without embeddings of its own has no validation loss; that is no value of zero.
    assert audit["criteria"]["validation_loss"]["applicable"] is False
    assert summary["winner"]["criteria"]["validation_loss"] is None
    page = Path(summary["report"]).read_text()
    assert "not defined, there is one kind of image only" in page
