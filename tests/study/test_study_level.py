"""Selection by criteria of a whole study, on made-up trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.study.toys import COST, QUALITY, keep_scores, trial
from tuner.study.config import StudyConfig
from tuner.study.pool import Pool, gather
from tuner.study.selection import NoWinner
from tuner.study.study_level import STUDY_LEVEL, choose, leading_criterion, study_values

TRUTH = np.arange(12.0)
# Trials 0 to 2 agree, 3 is inverted and best by quality, 4 was stopped early and would be central.
SCORES = [TRUTH, TRUTH + 3 * np.sin(TRUTH), TRUTH**2, -TRUTH, TRUTH]
JUDGED = [(0.5, 1.0), (0.6, 2.0), (0.7, 3.0), (0.9, 9.0), (0.8, 0.5)]


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    entries = []
    for number, (scores, (quality, cost)) in enumerate(zip(SCORES, JUDGED, strict=True)):
        keep_scores(tmp_path / str(number), scores[None], scores[None, :4], {})
        state = "stopped_early" if number == 4 else "finished"
        entries.append(trial(number, {"quality": quality, "cost": cost}, state=state))
    return gather(entries, lambda n: tmp_path / str(n), [QUALITY, COST])


def chosen(pool: Pool, name: str) -> int | None:
    found = choose(pool, name, QUALITY)
    return found[0].number if found else None


def test_a_consensus_passes_over_the_inverted_one_that_the_leading_criterion_likes(
    pool: Pool,
) -> None:
    for name in ("rank_agreement", "model_centrality", "hits", "select"):
        assert chosen(pool, name) in (0, 2), name
    # Of the best five by quality the one that the others agree with; the inverted one is not.
    assert chosen(pool, "robust_pick") in (0, 2)


def test_borda_weighs_all_criteria(pool: Pool) -> None:
    # Ranks by quality 0 1 2 3, by cost 3 2 1 0: all alike, so the earliest wins.
    values = study_values(pool, QUALITY)["borda"]
    assert values[:4] == pytest.approx([0.5] * 4) and np.isnan(values[4])
    assert chosen(pool, "borda") == 0
    cheap = replace(pool, criteria={**pool.criteria, "cost": np.array([1, 2, 0.1, 9, 0.0])})
    assert chosen(cheap, "borda") == 2


def test_what_was_stopped_takes_no_part_while_anything_finished(pool: Pool) -> None:
    assert set(study_values(pool, QUALITY)) == set(STUDY_LEVEL)
    assert all(np.isnan(values[4]) for values in study_values(pool, QUALITY).values())


def test_too_few_trials_have_no_consensus_and_no_trial_no_winner(pool: Pool) -> None:
    two = pool.only([0, 1])
    assert chosen(two, "model_centrality") is None
    assert chosen(two, "robust_pick") == 1 and chosen(two, "borda") == 0
    with pytest.raises(NoWinner):
        choose(pool.only([]), "hits", QUALITY)


def test_rungs_keep_a_criterion_of_trials() -> None:
    config = StudyConfig(name="x", category="y", criterion="borda", rung_criterion="score_variance")
    assert leading_criterion(config).name == "score_variance"
    plain = config.model_copy(update={"criterion": "validation_loss"})
    assert leading_criterion(plain).name == "validation_loss"
    with pytest.raises(ValueError, match=r"criterion is 'wish'.*robust_pick"):
        leading_criterion(config.model_copy(update={"criterion": "wish"}))
    with pytest.raises(ValueError, match="rung_criterion is 'hits'"):
        leading_criterion(config.model_copy(update={"rung_criterion": "hits"}))
