"""The reliability card on studies made up to be good, noisy, contradictory or shifted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.study.toys import COST, QUALITY, trial
from tuner.study.arms import compare
from tuner.study.pool import gather
from tuner.study.reliability import (
    DOUBTFUL,
    LIMITS,
    RANDOM,
    TRUST,
    Card,
    Study,
    agreements,
    assess,
    resampled,
    spread_and_noise,
    stays_best,
)
from tuner.study.shift import appearance, shifts

TRIALS = 12
SCORES = np.append(np.arange(10.0), 40.0)


def study(noise: float = 0.01, sign: float = -1.0, **changes: Any) -> Study:
    """Twelve trials, each better than the one before; the cost falls with quality (`sign` -1)."""
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 1, 40)
    entries = []
    for number in range(TRIALS):
        quality = 0.5 + 0.02 * number
        kind = "default" if number == 0 else "random" if number < 5 else "search"
        # What all trials share must not count as noise, however large it is.
        own = quality + luck + rng.normal(0, noise, 40)
        entry = trial(number, {"quality": quality, "cost": 1 + sign * quality}, kind=kind)
        last = {**entry.last, "resampled": own.tolist()}
        entries.append(replace(entry, records=(last,)))
    pool = gather(entries, lambda n: f"none/{n}", [QUALITY, COST])
    winner = changes.get("winner", TRIALS - 1)
    values: dict[str, Any] = {
        "pool": pool, "winner": winner, "leading": QUALITY, "consensus": 0.8,
        "arms": compare(pool, winner, {"quality": 0.5, "cost": 0.5}), "shifts": {"light": 0.5},
        "reference": "patch-memory", "agreed": 0.8, "batch": SCORES, "held_out": np.arange(10.0),
    }  # fmt: skip
    return Study(**{**values, **changes})


def says(card: Card, text: str) -> bool:
    return any(text in reason for reason in card.reasons)


def test_a_study_in_which_all_agrees_is_trusted() -> None:
    card = assess(study())
    assert card.verdict == TRUST and len(card.reasons) == 1
    assert card.figures["signal"] > 2 and card.figures["stays_best"] > 0.8
    assert card.figures["agreement"] == pytest.approx(1.0)
    # Quartiles of 0 to 9 and of 0 to 9 and 40: 2.25 and 2.5; the spread of the former is 2.872.
    assert card.figures["moved"] == pytest.approx(0.25 / 2.872, abs=1e-3)
    assert card.figures["score_spread"] > LIMITS.spread
    json.dumps(card.as_dict(), allow_nan=False)


def test_a_winner_that_suspects_other_images_than_the_memory_is_no_better_than_random() -> None:
    card = assess(study(agreed=-0.4))
    assert card.verdict == RANDOM and says(card, "suspects other images (rank correlation -0.40)")
    assert says(card, "patch-memory, which trains nothing")


def test_the_noise_is_what_trials_do_not_share() -> None:
    spread, noise = spread_and_noise(study(noise=0.02).pool, "quality")
    assert spread == pytest.approx(np.std(0.02 * np.arange(TRIALS), ddof=1))
    # Each loses a twelfth of its variance to the mean of all.
    assert noise == pytest.approx(0.02 * np.sqrt(11 / 12), rel=0.1)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"agreed": 0.4}, "agrees with the winner in part"),
        ({"reference": ""}, "nothing independent speaks for the choice; try --method feature-fae"),
        ({"agreed": None}, "nothing independent speaks for the choice"),
        ({"batch": SCORES + 30}, "above held-out normals, most of all in light: too many good"),
        ({"batch": SCORES[:10]}, "hardly any defects"),
        ({"warnings": ["its embeddings collapsed"]}, "embeddings collapsed"),
    ],
)
def test_one_doubt_is_enough(changes: dict[str, Any], text: str) -> None:
    card = assess(study(**{"shifts": {"light": -4.0, "focus": 1.0}, **changes}))
    assert card.verdict == DOUBTFUL and says(card, text)


def test_the_validation_loss_is_doubted_where_anomalies_are_rare() -> None:
    loss = replace(QUALITY, name="validation_loss")
    given = study(leading=loss, share=0.05, collapse=0.3)
    pool = replace(
        given.pool,
        criteria={"validation_loss": given.pool.criteria["quality"]},
        declared={"validation_loss": loss},
    )
    card = assess(replace(given, pool=pool, arms=compare(pool, given.winner, {})))
    assert card.verdict == DOUBTFUL and says(card, "below 30% the validation loss")


def test_what_is_not_known_is_none_and_not_held_against_anyone() -> None:
    given = study()
    plain = [replace(e, records=({**e.last, "resampled": []},)) for e in given.pool.entries]
    pool = replace(given.pool, entries=tuple(plain))
    card = assess(replace(given, pool=pool, consensus=None))
    assert card.verdict == TRUST
    assert card.figures["signal"] is None and card.figures["stays_best"] is None
    few = given.pool.only([0, 11])
    card = assess(replace(given, pool=few, arms=compare(few, 11, {})))
    assert card.verdict == DOUBTFUL and says(card, "only 2 trials")
    assert agreements(few, "quality") == {"cost": None}


def test_samples_that_a_trial_could_not_judge_count_for_none() -> None:
    pool = study().pool
    last = dict(pool.entries[3].last)
    last["resampled"] = [None, *last["resampled"][1:]]
    entries = [*pool.entries[:3], replace(pool.entries[3], records=(last,)), *pool.entries[4:]]
    entries[5] = replace(entries[5], state="stopped_early")
    places, values = resampled(replace(pool, entries=tuple(entries)))
    assert values.shape == (11, 39) and 5 not in places
    assert stays_best(pool, 11, QUALITY) == 1 - (stays_best(pool, 10, QUALITY) or 0)


def test_light_contrast_and_focus_of_a_batch() -> None:
    rng = np.random.default_rng(0)
    normal = rng.normal(120, 20, (30, 3, 16, 16)).clip(0, 255).astype(np.uint8)
    batch = normal[:20].copy()
    # A third of the batch with a black square is no shift.
    batch[:7, :, 2:8, 2:8] = 0
    assert max(abs(v) for v in shifts(normal, batch).values()) < 1.5
    assert shifts(normal, (batch * 0.7).astype(np.uint8))["light"] < -10
    blurred = np.repeat(np.repeat(normal[:, :, ::2, ::2], 2, 2), 2, 3)
    assert shifts(normal, blurred)["focus"] < -3
    assert appearance(np.full((2, 3, 4, 4), 7, np.uint8))["light"].tolist() == [7, 7]
    with pytest.raises(ValueError, match="0 unlabelled"):
        shifts(normal, normal[:0])
