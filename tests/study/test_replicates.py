"""The best trials again with another seed: when, which, and what is made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.study.test_reliability import TRIALS
from tests.study.test_reliability import study as card_study
from tests.study.toys import (
    COST,
    QUALITY,
    Clock,
    blank,
    keep_scores,
    make_conductor,
    make_ledger,
    play,
    trial,
)
from tuner.study.budget import Budget, Spent
from tuner.study.config import StudyConfig
from tuner.study.plan import Machine, lay_out
from tuner.study.pool import Pool, gather
from tuner.study.reliability import TRUST, assess
from tuner.study.replicates import due, families, seed_spread, stability, to_repeat, training_seed
from tuner.study.study_level import study_values


def rate(spec: Any, rung: int) -> float:
    return float(spec.hyperparameters["rate"]) + 0.01 * rung


def test_the_last_trials_repeat_the_two_best_and_are_not_stopped(tmp_path: Path) -> None:
    ledger, seeds = make_ledger(tmp_path), []

    def quality(spec: Any, rung: int) -> float:
        seeds.append(spec.training_seed)
        # A replicate looks hopeless at every rung.
        return rate(spec, rung) if spec.training_seed is None else -1.0

    play(make_conductor(ledger, "8", replicates=3), quality)
    entries = ledger.entries()
    assert [entry.kind for entry in entries[5:]] == ["replicate"] * 3
    assert all(entry.state == "finished" for entry in entries[5:])
    finished = [e for e in entries[:5] if e.state == "finished"]
    best = sorted(finished, key=lambda e: -float(e.point["rate"]))[:2]
    assert [e.origin for e in entries[5:]] == [best[0].number, best[1].number, best[0].number]
    assert [e.point for e in entries[5:7]] == [b.point for b in best]
    assert len(set(seeds)) == 4 and seeds[-1] == training_seed(blank().seed, 7)


def test_a_driver_that_dies_while_offering_offers_no_replicate_twice(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)
    play(make_conductor(ledger, "4"), rate)
    first = make_conductor(make_ledger(tmp_path, resume=True), "6", replicates=2)
    first._offer_replicate()
    again = make_ledger(tmp_path, resume=True)
    assert again.waiting() == 1
    play(make_conductor(again, "6", replicates=2), rate)
    kinds = [entry.kind for entry in again.entries()]
    assert kinds[4:] == ["replicate"] * 2 and len(kinds) == 6


def test_wall_time_is_kept_for_them(tmp_path: Path) -> None:
    clock, ledger = Clock(), make_ledger(tmp_path)
    conductor = make_conductor(ledger, "20s", clock, replicates=1, early_stopping=False)
    play(conductor, rate, clock)  # trials of four seconds
    kinds = [entry.kind for entry in ledger.entries()]
    assert kinds == ["default", "random", "random", "random", "replicate"]
    assert conductor.spent().seconds == 20


def test_studies_of_few_trials_have_none_unless_asked() -> None:
    done = [trial(n, {"quality": 0.1 * n}) for n in range(3)]
    fifty, thirty = Budget.parse("50"), Budget.parse("30")
    assert due(fifty, Spent(48), done, None, 1) and not due(fifty, Spent(47), done, None, 1)
    assert not due(thirty, Spent(28), done, None, 1) and due(thirty, Spent(28), done, 2, 1)
    assert not due(fifty, Spent(48), done, 0, 1) and not due(fifty, Spent(48), [], None, 1)
    # Four missing ones at two at once take two trials of four seconds each.
    assert due(Budget.parse("100s"), Spent(9, 92.0), done, 4, 2)
    assert not due(Budget.parse("100s"), Spent(9, 91.0), done, 4, 2)
    assert due(Budget.parse("1cpum"), Spent(9, 0.0, 44.0), done, 4, 2)
    assert to_repeat([], QUALITY) is None


def test_a_budget_of_replicates_alone_is_refused() -> None:
    config = StudyConfig(name="x", category="y", budget="5", replicates=5)
    with pytest.raises(ValueError, match="replicates is 5, but must be fewer than the 5 trials"):
        lay_out(config, Machine(2, 0, "CPU"))


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Trials 0 and 1 twice, 2 alone; the second seed of trial 1 ranks the images in reverse."""
    rising = np.arange(6.0)
    rows = [rising, rising, rising, 2 * rising, -rising]
    origins = [None, None, None, 0, 1]
    entries = []
    for number, (scores, origin) in enumerate(zip(rows, origins, strict=True)):
        keep_scores(tmp_path / str(number), scores[None], scores[None, :2], {})
        kind = "search" if origin is None else "replicate"
        cost = None if number == 4 else 1.0
        quality = [0.5, 0.7, 0.1, 0.3, 0.7][number]
        found = trial(number, {"quality": quality, "cost": cost}, kind=kind, origin=origin)
        entries.append(found)
    return gather(entries, lambda n: tmp_path / str(n), [QUALITY, COST])


def test_spread_and_stability_between_seeds(pool: Pool) -> None:
    assert families(pool) == [[0, 3], [1, 4]]
    # Squares 0.02 and 0 over two degrees of freedom; the cost is not known everywhere.
    assert seed_spread(pool) == {"quality": pytest.approx(0.1)}
    expected = pytest.approx([1, -1, np.nan, 1, -1], nan_ok=True)
    assert stability(pool) == expected
    assert study_values(pool, QUALITY)["seed_stability"] == expected
    alone = pool.only([0, 1, 2])
    assert np.isnan(study_values(alone, QUALITY)["seed_stability"]).all()
    assert seed_spread(alone) == {}


def with_replicate(value: float) -> Any:
    """A card's study whose winner was trained again, and then had that criterion."""
    given = card_study()
    [last] = given.pool.entries[-1].records
    again = trial(
        TRIALS,
        {"quality": value, "cost": 0.0},
        kind="replicate",
        origin=TRIALS - 1,
        records=(last,),
    )
    scores = np.tile(np.arange(5.0), (TRIALS + 1, 1))
    values = {
        name: np.append(own, value if name == "quality" else 1 - value)
        for name, own in given.pool.criteria.items()
    }
    pool = replace(given.pool, entries=(*given.pool.entries, again), scores=scores, criteria=values)
    return replace(given, pool=pool)


def test_the_card_measures_gains_in_what_another_seed_changes() -> None:
    card = assess(with_replicate(0.70))
    figures = card.figures
    assert figures["seed_spread"]["quality"] == pytest.approx(0.02 / np.sqrt(2))
    assert figures["over_default_in_seeds"] == pytest.approx(0.22 / (0.02 / np.sqrt(2)))
    assert figures["winner_by_seed"] == pytest.approx([0.72, 0.70])
    assert figures["seed_stability"] == 1.0 and card.verdict == TRUST
    card = assess(with_replicate(0.10))
    assert card.figures["over_default_in_seeds"] < 1
    assert assess(card_study()).figures["seed_spread"] == {}
