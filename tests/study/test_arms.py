"""What a search gained over its control arms, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.study.toys import COST, QUALITY, keep_scores, trial
from tuner.study.arms import compare, default_of
from tuner.study.files import TrialFiles
from tuner.study.ledger import Entry
from tuner.study.pool import gather, values_at


def both(quality: float | None, cost: float | None) -> dict[str, float | None]:
    return {"quality": quality, "cost": cost}


ENTRIES = [
    trial(0, both(0.5, 4.0), kind="default"),
    trial(1, both(0.4, 1.0), kind="random"),
    trial(2, both(0.8, None), kind="random", state="stopped_early"),
    trial(3, both(0.7, 2.0)),
    trial(4, both(None, None), kind="random", state="failed"),
]


def compared(entries: list[Entry], winner: int, **defaults: float) -> dict:
    return compare(gather(entries, lambda n: f"none/{n}", [QUALITY, COST]), winner, defaults)


def test_gains_are_positive_where_the_winner_is_better_either_way() -> None:
    found = compared(ENTRIES, 3, quality=0.6, cost=3.0)
    assert (found["default"], found["random"], found["random_finished"]) == (0, [1, 2], 1)
    quality, cost = found["criteria"]["quality"], found["criteria"]["cost"]
    assert quality["over_default"] == pytest.approx(0.1)
    assert quality["random"] == pytest.approx(0.6)
    assert quality["over_random"] == pytest.approx(0.1) and quality["random_beaten"] == 0.5
    assert cost["over_default"] == pytest.approx(1.0)
    # The only random draw with a cost is cheaper.
    assert cost["over_random"] == pytest.approx(-1.0) and cost["random_beaten"] == 0.0


def test_missing_arms_are_none_and_a_winning_draw_is_not_its_own_arm() -> None:
    found = compared([ENTRIES[1], ENTRIES[3]], 1)
    assert found["default"] is None and found["random"] == []
    assert found["criteria"]["quality"]["over_default"] is None
    assert found["criteria"]["quality"]["random_beaten"] is None


def test_defaults_of_the_winners_own_method() -> None:
    other = trial(0, both(0.9, 1.0), kind="default", method="other")
    own = trial(5, both(0.2, 1.0), kind="default")
    assert default_of([other, own], "toy") == own and default_of([other], "toy") is None


def test_a_pool_holds_judged_trials_only(tmp_path: Path) -> None:
    scores = np.arange(6.0).reshape(2, 3)
    keep_scores(tmp_path / "0", scores, scores, {"quality": [0.1, np.nan]}, setting=1)
    keep_scores(tmp_path / "1", scores * np.nan, scores, {"quality": [0.1, 0.2]})
    running = trial(6, {}, state="running", records=())
    pool = gather([*reversed(ENTRIES), running], lambda n: tmp_path / str(n), [QUALITY, COST])
    assert pool.numbers == [0, 1, 2, 3] and pool.finished.tolist() == [True, True, False, True]
    assert pool.scores[0].tolist() == [3, 4, 5] and np.isnan(pool.scores[1:]).all()
    assert pool.goodness("cost")[[0, 1, 3]].tolist() == [-4, -1, -2]
    assert values_at(TrialFiles(tmp_path / "0"), 0) == {"quality": 0.1}
    assert values_at(TrialFiles(tmp_path / "0"), 1) == {"quality": None}
    nothing = gather([], lambda n: tmp_path, [QUALITY])
    assert len(nothing) == 0 and len(nothing.criteria["quality"]) == 0
