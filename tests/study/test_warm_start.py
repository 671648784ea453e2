"""A study that begins with the best points of another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.loader import Choice, Range
from tests.study.toys import LEARNER, SPACE, make_conductor, make_ledger, play, trial
from tuner.study.config import StudyConfig
from tuner.study.home import Home
from tuner.study.ledger import Ledger, WarmPoint
from tuner.study.warm_start import find_warm_points, keep_warm_points, warm_points

WARM = (
    WarmPoint("toy", {"rate": 0.9, "kind": "b", "depth": 3}, "other trial 7"),
    WarmPoint("toy", {"rate": 0.8, "kind": "a", "depth": 1}, "other trial 4"),
)


def rate(spec, rung):  # type: ignore[no-untyped-def]
    return spec.hyperparameters["rate"] + 0.01 * rung


def test_points_are_clipped_to_the_space_and_repeated_ones_left_out() -> None:
    drawn = {"rate": Range(0.0, 0.6), "kind": Choice(("a",))}
    space = replace(SPACE, drawn=drawn, defaults={"rate": 0.5, "kind": "a"})
    points = [
        {"rate": 0.9, "kind": "b", "depth": 3, "gone": 1.0},
        {"rate": 0.7, "kind": "a", "depth": 1},
        {"rate": 0.5, "kind": "a", "depth": 4},
        {"rate": 0.2, "kind": "b", "depth": 4},
    ]
    ranked = [trial(9 - i, {}, point=point) for i, point in enumerate(points)]
    ranked.insert(0, trial(20, {}, method="unknown", point={"rate": 0.1}))
    found = warm_points(ranked, [space, LEARNER], "other")
    assert [(w.point, w.source) for w in found] == [
        ({"rate": 0.6, "kind": "a"}, "other trial 9"),
        ({"rate": 0.2, "kind": "a"}, "other trial 6"),
    ]
    assert len(warm_points(ranked, [space], "other", count=1)) == 1


def test_warm_points_come_after_the_defaults_and_before_random_draws(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path, warm=WARM)
    play(make_conductor(ledger, "8"), rate)
    entries = ledger.entries()
    kinds = ["default", "warm", "warm", "random", "random", "random", "search", "search"]
    assert [entry.kind for entry in entries] == kinds
    assert [dict(entry.point) for entry in entries[1:3]] == [dict(w.point) for w in WARM]
    assert [entry.source for entry in entries[1:4]] == ["other trial 7", "other trial 4", ""]


def test_a_driver_that_dies_while_offering_offers_nothing_twice(tmp_path: Path) -> None:
    whole = make_ledger(tmp_path, warm=WARM)
    for warm, waiting in ((WARM, 3), (WARM, 3)):
        assert make_ledger(tmp_path, resume=True, warm=warm).waiting() == waiting
    (tmp_path / "half").mkdir()
    half = make_ledger(tmp_path / "half", warm=WARM[:1])
    assert half.waiting() == 2
    assert make_ledger(tmp_path / "half", resume=True, warm=WARM).waiting() == whole.waiting()


def source(home: Home, name: str, **options: object) -> Ledger:
    """A study of four trials, the first of which is the defaults."""
    home.path.mkdir(parents=True, exist_ok=True)
    config = StudyConfig(name="toy-study", category="x", methods=("toy",))
    config.write(home.study(name).config)
    ledger = make_ledger(home.path, **options)
    play(make_conductor(ledger, "4", early_stopping=False), rate)
    return ledger


def test_the_best_of_another_study_are_found_and_then_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.study.toys import QUALITY

    monkeypatch.setattr("tuner.study.warm_start.leading_criterion", lambda config: QUALITY)
    home = Home(tmp_path)
    ledger = source(home, "toy-study")
    best = sorted(ledger.entries()[1:], key=lambda e: -float(e.point["rate"]))
    config = StudyConfig(name="new", category="y", methods=("toy",), warm_start="toy-study")
    found = find_warm_points(config, home, [SPACE])
    assert [dict(w.point) for w in found] == [dict(e.point) for e in best]
    assert found[0].source == f"toy-study trial {best[0].number}"
    home.study("new").path.mkdir(parents=True)
    keep_warm_points(home.study("new").warm_start, found[:2])
    (home.study("toy-study").config).unlink()
    assert find_warm_points(config, home, [SPACE]) == found[:2]


def test_a_study_that_cannot_warm_another_says_why(tmp_path: Path) -> None:
    home = Home(tmp_path)
    config = StudyConfig(name="new", category="y", warm_start="nowhere")
    with pytest.raises(ValueError, match=r"must be another study.*none yet"):
        find_warm_points(config, home, [SPACE])
    source(home, "toy-study")
    with pytest.raises(ValueError, match="there are: toy-study"):
        find_warm_points(config, home, [SPACE])
    # Judged by nothing that this study's criterion knows.
    other = config.model_copy(update={"warm_start": "toy-study"})
    with pytest.raises(ValueError, match="no judged trial of learner"):
        find_warm_points(other, home, [LEARNER])
    assert find_warm_points(config.model_copy(update={"warm_start": None}), home, [SPACE]) == ()
