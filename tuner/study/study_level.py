"""Criteria of a whole study: what is known of a trial only beside the others.

A scheduler cannot stop trials by them, and a sampler cannot learn from values that change with
every further trial. So where one of them selects the winner, a trial-level criterion leads at rungs
(`rung_criterion`), and this one is computed once, when all trials have ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from methods.criteria.aggregation import agreement_weights, borda, rank_shares, robust_pick, top
from methods.criteria.consensus import CONSENSUS
from methods.criteria.contract import Criterion
from methods.criteria.registry import criterion_names, get_criterion
from methods.naming import meant
from tuner.study.config import StudyConfig
from tuner.study.groups import passed_over
from tuner.study.ledger import Entry
from tuner.study.pool import Pool
from tuner.study.replicates import stability
from tuner.study.selection import NoWinner

Array = NDArray[Any]

ROBUST_FROM = 5


@dataclass(frozen=True)
class StudyLevel:
    """A criterion of a study: `evaluate(pool, leading)` gives float64 `[T]`, higher better."""

    name: str
    title: str
    source: str
    evaluate: Callable[[Pool, str], Tensor]


def _oriented(pool: Pool) -> Tensor:
    rows = [torch.from_numpy(pool.goodness(name)) for name in pool.criteria]
    return torch.stack(rows) if rows else torch.empty((0, len(pool)), dtype=torch.float64)


def _borda(pool: Pool, leading: str) -> Tensor:
    return borda(_oriented(pool))


def _weighted(pool: Pool, leading: str) -> Tensor:
    values = _oriented(pool)
    return borda(values, agreement_weights(values))


def _robust(pool: Pool, leading: str) -> Tensor:
    """The share of trials that each beats by the leading criterion; the pick stands above all."""
    values = torch.from_numpy(pool.goodness(leading))
    if bool(values.isnan().all()):
        return values
    agreed = CONSENSUS["model_centrality"].evaluate(torch.from_numpy(pool.scores))
    shares = rank_shares(values[None])[0]
    shares[robust_pick(values, agreed, ROBUST_FROM)] = 2.0
    return shares


def _consensus(evaluate: Callable[[Tensor], Tensor]) -> Callable[[Pool, str], Tensor]:
    return lambda pool, leading: evaluate(torch.from_numpy(pool.scores))


STUDY_LEVEL: dict[str, StudyLevel] = {
    each.name: each
    for each in (
        *(
            StudyLevel(c.name, c.title, c.source, _consensus(c.evaluate))
            for c in CONSENSUS.values()
        ),
        StudyLevel("borda", "mean rank by all criteria", "Borda count", _borda),
        StudyLevel(
            "weighted_borda",
            "mean rank by all criteria, each as it agrees with the others",
            "Borda count; weights are ours",
            _weighted,
        ),
        StudyLevel(
            "robust_pick",
            f"of the best {ROBUST_FROM} by the rung criterion the one most agreed with",
            "ours, after UOMS",
            _robust,
        ),
        StudyLevel(
            "seed_stability",
            "agreement of a trial with itself under another seed",
            "Kendall's tau-b; UDR's idea",
            lambda pool, leading: torch.from_numpy(stability(pool)),
        ),
    )
}


def leading_criterion(config: StudyConfig) -> Criterion:
    """The criterion that leads at rungs and among the sampler's values.

    Raises ValueError for an unknown one, listing both kinds.
    """
    name = config.rung_criterion if config.criterion in STUDY_LEVEL else config.criterion
    if name not in criterion_names():
        which = "rung_criterion" if config.criterion in STUDY_LEVEL else "criterion"
        known = f"must be one of: {', '.join(criterion_names())}"
        if which == "criterion":
            known += f"; or, of a whole study: {', '.join(STUDY_LEVEL)}"
        known += meant(name, [*criterion_names(), *STUDY_LEVEL])
        raise ValueError(f"{which} is {name!r}, but {known}")
    return get_criterion(name)


def study_values(pool: Pool, leading: Criterion) -> dict[str, Array]:
    """Every criterion of the study for T trials, float64 `[T]`, NaN where it does not apply.

    Only candidates (see `Pool`) take part: a trial that was stopped was trained less.
    """
    places = np.flatnonzero(pool.candidates)
    among = pool.only(places)
    found = {}
    for name, each in STUDY_LEVEL.items():
        values = np.full(len(pool), np.nan)
        if len(places):
            values[places] = each.evaluate(among, leading.name).numpy()
        found[name] = values
    return found


def choose(pool: Pool, name: str, leading: Criterion) -> list[Entry]:
    """Trials by a criterion of the study, the winner first; none where it applies to no trial.

    Siblings are left out, all but the one that stands for them (see `groups`). Ties go to the
    earlier trial. Raises NoWinner where no trial was judged.
    """
    if not len(pool):
        raise NoWinner("no trial reached a rung")
    values = study_values(pool, leading)[name]
    behind = passed_over(pool.entries)
    values = np.where([n in behind for n in pool.numbers], np.nan, values)
    return [pool.entries[place] for place in top(torch.from_numpy(values), len(values))]
