"""How picks are judged, by hand; and that a kept trial is what its criteria saw."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from selection import judge, main
from selection_card import separation
from selection_contenders import GAMES, Judged
from selection_embedding import EMBEDDINGS, embedded
from selection_judge import (
    better_than,
    controls,
    holm,
    leave_one_out,
    mean_regrets,
    own_settings,
    pick,
    regret_of_both,
    regret_of_setting,
    regret_of_trial,
    threshold,
)
from selection_pool import Protocol, Training, draw, load, train
from selection_smoothing import agreement_with_best, half_additive, rank_one
from selection_stopping import early_stopping, expected_best, halving, saving, time_to_reach
from selection_tasks import scene, surface

from methods.criteria.registry import criterion_names, get_criterion

NAN = math.nan
AUROC = np.array([[0.5, 0.9], [0.8, 0.6], [0.7, 0.7]])
VALUES = np.array([[0.1, 0.2], [0.9, NAN], [NAN, NAN]])


def test_picks_and_regrets_by_hand() -> None:
    settings = own_settings(VALUES, default=1)
    assert settings.tolist() == [1, 0, 1]
    assert pick(VALUES, settings) == (1, 0)
    assert regret_of_both(AUROC, VALUES, settings) == pytest.approx(0.9 - 0.8)
    # The third trial has no value and takes no part.
    assert regret_of_setting(AUROC, VALUES) == 0
    assert regret_of_trial(AUROC, VALUES, setting=1) == 0
    assert regret_of_trial(AUROC, VALUES, setting=0) == pytest.approx(0)
    assert math.isnan(regret_of_both(AUROC, VALUES * NAN, settings))


def test_controls_by_hand() -> None:
    found = controls(AUROC, default=0)
    assert found["both"]["random"] == pytest.approx(0.9 - 0.7)
    assert found["both"]["defaults"] == pytest.approx(0.4)
    assert found["setting"]["random"] == pytest.approx((0.2 + 0.1 + 0) / 3)
    assert found["setting"]["defaults"] == pytest.approx((0.4 + 0 + 0) / 3)
    assert found["trial"]["random"] == pytest.approx(0.8 - 2 / 3)
    assert found["trial"]["defaults"] == pytest.approx(0.3)


TABLE = {
    "good": {"a": [0.0, 0.1], "b": [0.1, 0.1], "c": [0.2, 0.0]},
    "bad": {"a": [0.3, 0.3], "b": [0.0, 0.0], "c": [NAN, 0.3]},
    "random": {"a": [0.2, 0.21], "b": [0.22, 0.23], "c": [0.34, 0.25]},
}


def test_means_and_tests_by_hand() -> None:
    means = mean_regrets(TABLE)
    assert means["good"] == pytest.approx((0.05 + 0.1 + 0.1) / 3)
    assert means["bad"] == pytest.approx((0.3 + 0.0 + 0.3) / 3)
    found = better_than({"good": TABLE["good"], "random": TABLE["random"]}, "random")
    # Six pairs, all in favour: one of the 64 ways in which signs can fall.
    assert found == {"good": pytest.approx(1 / 64)}
    over = better_than({"good": TABLE["good"], "random": TABLE["random"]}, "random", over="tasks")
    assert over == {"good": pytest.approx(1 / 8)}
    assert better_than({"x": TABLE["good"], "y": TABLE["good"]}, "y") == {"x": 1.0}
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "c": 0.06, "b": 0.06}
    )


def test_leaving_a_task_out_chooses_by_the_others() -> None:
    table = {
        "x": {"a": [0.0], "b": [0.3], "c": [0.3]},
        "y": {"a": [0.4], "b": [0.2], "c": [0.2]},
        "z": {"a": [0.0], "b": [0.0], "c": [NAN]},
    }
    found = leave_one_out(table, ["x", "y", "z"])
    assert found == {"a": ("y", [0.4]), "b": ("x", [0.3]), "c": ("x", [0.3])}


def test_the_best_of_some_draws_by_hand() -> None:
    assert expected_best(np.array([3.0, 1.0, 2.0])).tolist() == pytest.approx([2, 8 / 3, 3])


def test_halving_by_hand() -> None:
    values = np.array([[0.1, 0.9], [0.4, 0.5], [0.3, 0.7], [NAN, 1.0]])
    # The second and the third go on.
    assert halving(values, 2) == (2, 6)
    assert halving(values, 4) == (1, 5)
    found = early_stopping(np.nan_to_num(values), 2)
    assert found["saving"] == pytest.approx(8 / 6) and found["found_best"] == 0
    final = np.array([0.9, 0.5, 0.7, 1.0])
    assert found["shortfall"] == pytest.approx((1.0 - 0.7) / final.std())
    # One random trial gets 0.775 on average, more than halving's 0.7: one training of two rungs.
    assert found["equal_cost"] == pytest.approx(2 / 6)


def test_asynchronous_halving_by_hand() -> None:
    values = np.array([[0.1, 0.9], [0.4, 0.5], [0.3, 0.7], [0.2, 1.0]])
    order, stops = [0, 1, 2, 3], (0, 1)
    # Two first rungs, then the better of both in full; two more, and the next best in full.
    assert time_to_reach(values, order, 0.5, 2, stops) == 3
    assert time_to_reach(values, order, 0.7, 2, stops) == 6
    # Nobody is promoted any more: the rest goes on by rank.
    assert time_to_reach(values, order, 1.0, 2, stops) == 7
    assert time_to_reach(values, order, 2.0, 2, stops) == 8
    longer = np.repeat(values, 2, axis=1)
    assert time_to_reach(longer, order, 0.5, 2, (0, 3)) == 2 + 3
    alone = {"saving": 1.0, "until_found": 1.0, "share_at_least_3": 0.0}
    assert saving(values[1:2], 1, 2, stops) == alone


def test_smoothing_by_hand() -> None:
    rows, columns = np.array([[0.1], [0.4], [0.0]]), np.array([[0.2, 0.0, 0.5]])
    assert np.allclose(half_additive(rows + columns), rows + columns)
    product = 0.7 + np.array([[0.1], [-0.1], [0.0]]) * np.array([[0.2, -0.3, 0.1]])
    assert np.allclose(rank_one(product), product)
    spoilt = rows + columns
    spoilt[1, 1] = NAN
    for smooth in (half_additive, rank_one):
        assert np.array_equal(np.isnan(smooth(spoilt)), np.isnan(spoilt))
    scores = torch.tensor([[[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]])
    found = agreement_with_best(np.array([[0.9, 0.1]]), scores, count=1)
    assert found.tolist() == [[pytest.approx(1.0), pytest.approx(-1.0)]]


def test_a_signal_that_parts_the_good_from_the_bad() -> None:
    good = np.array([False, False, True, True, True])
    assert separation(np.array([0.1, 0.2, 0.7, 0.9, NAN]), good)[0] == 1
    assert separation(np.array([0.3, 0.3, 0.3, 0.3, 0.3]), good)[0] == 0.5
    assert math.isnan(separation(np.ones(5), np.ones(5, bool))[0])


def test_a_threshold_parts_good_from_bad() -> None:
    signal = np.array([0.1, 0.2, 0.7, 0.9, NAN])
    good = np.array([False, False, True, True, True])
    assert threshold(signal, good) == (pytest.approx(0.45), 1.0)
    assert all(math.isnan(x) for x in threshold(signal, np.ones(5, bool)))


def test_draws_repeat_and_begin_with_the_defaults() -> None:
    space = Protocol().space()
    assert draw(space, "tile", 0, 0) == space.complete(space.defaults)
    one, again, other = (draw(space, name, 3, 5) for name in ("tile", "tile", "grid"))
    assert one == again and one != other
    assert one["steps"] == Protocol().steps and set(one) == set(space.complete({**space.defaults}))


def test_a_new_scene_has_its_defect() -> None:
    found = scene("gravel", "stain", 1.0, np.random.default_rng(0))
    assert found.image.shape == (256, 256, 3) and found.mask.any()


def test_one_digit_is_normal() -> None:
    found = surface("digits", "6", 16)
    assert sorted(found.batches) == ["8", "mixed"] and len(found.normals) == 120
    for batch in found.batches.values():
        assert batch.images.shape[1:] == (3, 16, 16) and batch.anomalous.sum() == 40


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise in MVTec layout; two kinds of defects."""
    root, rng = tmp_path_factory.mktemp("data") / "factory", np.random.default_rng(0)
    for part, count, level in (
        ("train/good", 12, None), ("test/good", 8, None), ("test/dot", 4, 0), ("test/hole", 3, 255)
    ):  # fmt: skip
        folder = root / "plate" / part
        folder.mkdir(parents=True)
        for number in range(count):
            image = rng.integers(90, 150, (16, 16, 3), dtype=np.uint8)
            if level is not None:
                image[4:9, 4:9] = level
            Image.fromarray(image).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def kept(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pool = tmp_path_factory.mktemp("pool")
    protocol = Protocol(size=16, steps=4, width=2, batch_size=2, rungs=2, synthetic=24)
    for trial in (1, 0):
        record = train(Training(str(pool), str(data), "plate", 0, trial, protocol))
        assert record["train_seconds"] > 0 and "mask_weight" in record["hyperparameters"]
    return pool


def test_a_kept_trial_is_judged_as_it_was_seen(kept: Path, data: Path) -> None:
    study = load(kept / "factory-plate.dot" / "seed_0")
    assert (study.task, study.seed, len(study.trials)) == ("factory-plate.dot", 0, 2)
    batches = surface(str(data), "plate", 16).batches
    assert sorted(batches) == ["dot", "hole"] and batches["hole"].anomalous.sum() == 3
    assert np.array_equal(study.anomalous, batches["dot"].anomalous)
    darkest = batches["dot"].images.min((1, 2, 3))
    assert np.array_equal(darkest == 0, study.anomalous)
    assert study.rung_criteria == criterion_names() and study.rungs.shape[:2] == (2, 2)
    for trial, rungs in zip(study.trials, study.rungs, strict=True):
        again = torch.stack([get_criterion(n).evaluate(trial) for n in criterion_names()])
        assert np.allclose(again.numpy(), rungs[-1], rtol=1e-4, atol=1e-6, equal_nan=True)
    evidence = study.trials[0]
    whole = evidence.train_embeddings.shape[1]
    for name in EMBEDDINGS:
        own = embedded(evidence, name)
        for criterion in ("validation_loss", "dsv"):
            assert bool(get_criterion(criterion).evaluate(own).isfinite().all()), name
    both = [
        embedded(evidence, part).test_embeddings.shape[1] for part in ("bottleneck", "residual")
    ]
    assert sum(both) == whole


def test_every_contender_of_a_kept_study_has_a_regret(kept: Path) -> None:
    regrets = Judged(load(kept / "factory-plate.hole" / "seed_0")).regrets()
    assert set(regrets) == set(GAMES)
    assert {
        "borda",
        "robust borda",
        "ensemble aligned_synthetic_validation",
        "ensemble referenced_synthetic_validation or untrained",
        "synthetic_validation, rank one",
    } <= set(regrets["both"])
    assert set(criterion_names()) <= set(regrets["trial"])
    assert "validation_loss" not in regrets["setting"]
    # Two trials make no majority; nothing else lacks a value.
    nothing = {name for name, value in regrets["both"].items() if math.isnan(value)}
    assert nothing <= {"rank_agreement", "model_centrality", "hits", "select"}


def test_the_judge_writes_what_it_says(
    kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = kept / "found.json"
    monkeypatch.setattr(
        "sys.argv",
        ["selection.py", "judge", "--pool", str(kept), "--trials", "2", "--out", str(out)],
    )
    main()
    found = json.loads(out.read_text())
    assert set(GAMES) < set(found) and "synthetic_validation" in capsys.readouterr().out
    assert found["both"]["leave_one_task_out"]["criteria"]["default"] in criterion_names()
    options = argparse.Namespace(pool=kept, trials=3)
    with pytest.raises(SystemExit, match="run the pool stage first"):
        judge(options)
