"""ST-SSAD's tables and demonstration: what is run, what is chosen, what is reported."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import st_ssad_demo as demo
from st_ssad_columns import DIGITS, OURS, PAPER, QUICK, SVHN, TABLE_1, TABLE_2
from st_ssad_report import published, summarise, text, wilcoxon
from st_ssad_tables import Training, collect, protocol_of, trainings, work
from st_ssad_tasks import Material, material
from st_ssad_trials import choose

from methods.hyperparameter import complete
from methods.registry import get_method

PAPERS = Path(demo.__file__).parent


def record(variance: float | None, comparable: bool = True, auc: float = 0.5) -> dict[str, Any]:
    return {"score_variance": variance, "comparable": comparable, "auc": {"x": auc}, "tuned": {}}


@pytest.mark.parametrize(("table", "number"), [(TABLE_1, 1), (TABLE_2, 2)])
def test_the_columns_are_the_papers_and_every_value_is_declared(table: Any, number: int) -> None:
    paper = json.loads((PAPERS / f"paper_table{number}.json").read_text())
    assert [column.name for column in table] == paper["columns"]
    for column in table:
        for protocol in (PAPER, SVHN, QUICK, DIGITS):
            complete(get_method(column.method).hyperparameters, protocol.of(column))
    tuned = [column for column in table if column.tunes]
    assert [column.name for column in tuned] == [OURS, "MMD1", "MMD2", "FO"]


def test_any_data_takes_either_table_at_the_papers_sizes() -> None:
    assert protocol_of(1, quick=False) is PAPER and protocol_of(2, quick=False) is SVHN
    own = SVHN.values["st-ssad"]
    updates = round(own["steps"] * (1 - own["warm_share"])) / own["inner_updates"]
    assert (own["batch_size"], own["inner_updates"], updates) == (256, 5, 100)
    assert len(material("digits", "6", 16, None, 0.0).held_out) == 2


def test_the_papers_figures_have_the_means_that_they_must_have() -> None:
    for number, tasks, ours in ((1, 23, 0.722), (2, 18, 0.806)):
        paper = json.loads((PAPERS / f"paper_table{number}.json").read_text())
        rows = [row for rows in paper["rows"].values() for row in rows.values()]
        assert len(rows) == tasks and {len(row) for row in rows} == {len(paper["columns"])}
        mean = np.mean([row[paper["columns"].index(OURS)] for row in rows])
        assert mean == pytest.approx(ours, abs=5e-4)


def test_score_variance_alone_chooses_among_siblings() -> None:
    siblings = {"a": record(3.0), "b": record(9.0), "c": record(99.0, comparable=False)}
    assert choose(siblings) == "b"
    for auc in (0.0, 1.0):
        assert choose({**siblings, "a": record(3.0, auc=auc)}) == "b"
    assert choose({"c": siblings["c"], "d": {"error": "Diverged"}, "e": record(None)}) == "c"
    assert choose({"d": {"error": "Diverged"}}) is None


def test_a_task_has_the_good_images_and_one_kind() -> None:
    kinds = np.array(["", "crack", "", "fray", "crack"])
    images = np.arange(5 * 3 * 4 * 4).reshape(5, 3, 4, 4).astype(np.uint8)
    stuff = Material(images, images[:1], images, kinds)
    data, truths = stuff.task("crack")
    assert data.test.shape[0] == 4 and list(truths) == ["crack"]
    inside, anomalous = truths["crack"]
    assert inside.all() and anomalous.tolist() == [False, True, False, True]
    everything, truths = stuff.task(None)
    assert len(everything.test) == 5 and list(truths) == ["crack", "fray"]
    assert truths["fray"][0].tolist() == [True, False, True, True, False]
    assert truths["fray"][1].tolist() == [False, False, False, True, False]


def test_one_training_of_what_does_not_tune_serves_all_tasks() -> None:
    kinds = {"tile": ["crack", "fray"]}
    columns = tuple(c for c in TABLE_1 if c.name in ("AE", OURS))
    made = trainings(kinds, columns, 2, lambda *found: found)  # type: ignore[arg-type,return-value]
    assert sorted(name for name in made if "AE" in name) == ["tile AE seed 0", "tile AE seed 1"]
    assert len(made) == 2 + 2 * 2 * 4
    cells = {name: {"error": "x"} for name in made} | {
        "tile AE seed 0": {"auc": {"crack": 0.7, "fray": 0.6}},
        "tile/crack ST-SSAD seed 0 start 1": record(2.0) | {"warnings": [], "auc": {"crack": 0.8}},
        "tile/crack ST-SSAD seed 0 start 3": record(1.0) | {"warnings": [], "auc": {"crack": 0.9}},
    }
    aucs, taken = collect(cells, kinds, columns, 2)
    assert aucs["tile/crack"] == {"AE": [0.7, None], OURS: [0.8, None]}
    assert aucs["tile/fray"] == {"AE": [0.6, None], OURS: [None, None]}
    assert taken["tile/crack ST-SSAD seed 0"]["trial"].endswith("start 1")


def test_the_summary_by_hand() -> None:
    aucs = {
        "tile/crack": {"AE": [0.5, 0.6], OURS: [0.7, 0.9]},
        "tile/fray": {"AE": [0.4, None], OURS: [0.9, 0.8]},
    }
    found = summarise(aucs)
    assert found["tasks"]["tile/crack"][OURS]["mean"] == pytest.approx(0.8)
    assert found["tasks"]["tile/crack"][OURS]["std"] == pytest.approx(math.sqrt(0.02))
    assert found["mean"] == {"AE": pytest.approx(0.475), OURS: pytest.approx(0.825)}
    # Three pairs, all in favour: one of the eight ways in which signs can fall.
    assert found["p_of_st_ssad_being_better"] == {"AE": pytest.approx(1 / 8)}
    assert wilcoxon([0.5], [0.5]) is None
    shown = text(found, {"tile/crack": {"AE": 0.77, OURS: 0.749}}, "paper")
    assert "0.749" in shown and "0.800±.14" in shown


def test_the_papers_figures_stand_beside_mvtec_only() -> None:
    mvtec = ["crack", "glue_strip", "gray_stroke", "oil", "rough"]
    assert published(1, {"tile": mvtec})["tile/crack"][OURS] == 0.749
    assert published(1, {"tile": ["blowhole", "break", "crack", "fray", "uneven"]}) == {}


def test_digits_are_trained_and_scored() -> None:
    stuff = material("digits", "6", 16, None)
    assert stuff.anomalies() == [d for d in "0123456789" if d != "6"]
    assert stuff.train.shape[1:] == (3, 16, 16)
    counts = {kind: int((stuff.kinds == kind).sum()) for kind in ("", *stuff.anomalies())}
    assert set(counts.values()) == {counts[""]}
    values = {"width": 4, "stem": "large", "batch_size": 4, "steps": 2, "augmentation": "rotation"}
    training = Training("digits", "6", None, "random-static", values, 0, 16, None, 0.1, "cpu")
    found = work(training)
    assert set(found["auc"]) == set(stuff.anomalies()) and found["score_variance"] >= 0


def test_the_demonstrations_truth() -> None:
    data, truth = demo.task(0.04, 2.0, seed=1)
    assert len(data.test) == len(truth) == 96 and truth.sum() == 48
    darkest = data.test.amin((1, 2, 3)).numpy()
    assert np.median(darkest[truth]) < 5 and np.median(darkest[~truth]) > 30
    flat = {"l11": 0.1, "l21": 0.0, "l22": 0.4}
    assert demo.size_and_aspect(flat) == (pytest.approx(0.04), pytest.approx(4.0))
    # As high as wide: a long patch on the diagonal.
    turned = {"l11": 0.5, "l21": 0.4, "l22": 0.3}
    assert demo.size_and_aspect(turned) == (pytest.approx(0.15), pytest.approx(1.0))
    tasks = [
        {"size": s, "aspect": a, "learned_size": 2 * s, "learned_aspect": 1 / a, "auc": s * 10}
        for s in (0.01, 0.02, 0.0999)
        for a in (0.5, 1.0, 2.0)
    ]
    found = demo.summarise(tasks)
    assert found["spearman_of_sizes"] == pytest.approx(1.0)
    assert found["spearman_of_aspects"] == pytest.approx(-1.0)
    assert found["learned_size"][0.02] == pytest.approx(0.04)
    assert found["tasks_with_that_auc"] == 3
