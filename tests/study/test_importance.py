"""Which hyperparameter matters, told from a study's first rungs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from methods.registry import get_method
from search_spaces.loader import load_search_space
from tuner.study.importance import FEWEST, importances
from tuner.study.ledger import Entry
from tuner.study.space import MethodSpace, build_space

CRITERION = "score_variance"


def space() -> MethodSpace:
    built = build_space(get_method("fae"), load_search_space("fae"), "cpu", {})
    return replace(built, drawn={n: built.drawn[n] for n in ("noise_sigma", "mask_weight")})


def entries(count: int, method: str = "fae") -> list[Entry]:
    """Trials whose criterion is the square of the noise, and nothing of the mask weight."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        sigma, weight = (
            float(rng.uniform(d.low, d.high))  # type: ignore[union-attr]
            for d in space().drawn.values()
        )
        record = {"rung": 1, "criteria": {CRITERION: sigma**2}}
        point = {"noise_sigma": sigma, "mask_weight": weight, "blob_size": 0.1}
        found.append(
            Entry(number, "search", method, point, "finished", (record,), None, "", None, None)
        )
    return found


def test_what_makes_the_criterion_is_what_matters() -> None:
    shares = importances(entries(40), space(), CRITERION)
    assert set(shares) == {"noise_sigma", "mask_weight"}
    assert shares["noise_sigma"] > 0.8
    assert shares == importances(entries(40), space(), CRITERION)


def test_nothing_is_told_from_too_little() -> None:
    assert importances(entries(FEWEST - 1), space(), CRITERION) == {}
    assert importances(entries(40, "pae"), space(), CRITERION) == {}
    alike = [replace(e, records=({"rung": 1, "criteria": {CRITERION: 1.0}},)) for e in entries(20)]
    assert importances(alike, space(), CRITERION) == {}
    unjudged = [
        replace(e, records=({"rung": 1, "criteria": {CRITERION: None}},)) for e in entries(20)
    ]
    assert importances(unjudged, space(), CRITERION) == {}
