"""What picks in a kept study: criteria, consensus, combinations, smoothed criteria, robust picks
and ensembles; and the same with a detector that nobody trains among the candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from selection_judge import (
    Array,
    own_settings,
    pick,
    regret_of_both,
    regret_of_setting,
    regret_of_trial,
)
from selection_pool import Study
from selection_smoothing import agreement_with_best, half_additive, rank_one

from methods.criteria.aggregation import (
    agreement_weights,
    borda,
    ensemble_scores,
    robust_pick,
    top,
)
from methods.criteria.auroc import auroc
from methods.criteria.consensus import CONSENSUS
from methods.criteria.reference import unusualness
from methods.criteria.referenced import reference_validation, referenced
from methods.criteria.registry import criterion_names, get_criterion

# Chooses the setting where a criterion does not look at scores, as a study does.
CHOOSER = "synthetic_validation"
REFERENCED = "referenced_synthetic_validation"
LEADING = (
    REFERENCED,
    "synthetic_validation",
    "aligned_synthetic_validation",
    "matched_synthetic_validation",
    "resembling_synthetic_validation",
    "reference_agreement",
)
BEST = 5
# The fixed embedding as a detector of its own: what no training at all would have given.
FIXED = "untrained detector"
# Contenders that have it among their candidates.
WITH_FIXED = " or untrained"
SMOOTHED = ("synthetic_validation", REFERENCED)
GAMES = ("both", "setting", "trial")


@dataclass(frozen=True)
class Judged:
    """One study with its criteria evaluated; see `selection_judge` for the shapes."""

    study: Study

    @cached_property
    def auroc(self) -> Array:
        bad = torch.from_numpy(self.study.anomalous)
        rows = [auroc(t.test_scores[:, bad], t.test_scores[:, ~bad]) for t in self.study.trials]
        return torch.stack(rows).numpy()

    @cached_property
    def test_scores(self) -> torch.Tensor:
        """`[T, S, M]`."""
        return torch.stack([trial.test_scores for trial in self.study.trials])

    @cached_property
    def criteria(self) -> dict[str, Array]:
        found = {}
        for name in criterion_names():
            criterion = get_criterion(name)
            values = torch.stack([criterion.evaluate(trial) for trial in self.study.trials]).numpy()
            values = np.where(np.isfinite(values), values, np.nan)
            found[name] = values if criterion.direction == "maximize" else -values
        return found

    @cached_property
    def chosen(self) -> Array:
        """The setting of each trial where a criterion does not choose one."""
        return own_settings(self.criteria[CHOOSER], self.study.default_setting)

    @cached_property
    def consensus(self) -> dict[str, Array]:
        """Over trials, each under its chosen setting; and over all trials under all settings."""
        trials, settings, images = self.test_scores.shape
        rows = self.test_scores[torch.arange(trials), torch.from_numpy(self.chosen)]
        found = {
            name: criterion.evaluate(rows)[:, None].expand(-1, settings).numpy()
            for name, criterion in CONSENSUS.items()
        }
        every = self.test_scores.reshape(trials * settings, images)
        joint = CONSENSUS["rank_agreement"].evaluate(every).reshape(trials, settings)
        return {**found, "rank_agreement_of_settings": joint.numpy()}

    @cached_property
    def combined(self) -> dict[str, Array]:
        """Rank aggregations over all trials under all settings."""
        values = torch.stack([torch.from_numpy(v) for v in self.criteria.values()]).flatten(1)
        trusted = torch.stack(
            [torch.from_numpy(self.criteria[name]) for name in LEADING]
            + [torch.from_numpy(self.consensus["rank_agreement_of_settings"].copy())]
        ).flatten(1)
        shape = self.auroc.shape
        return {
            "borda": borda(values).reshape(shape).numpy(),
            "borda_weighted": borda(values, agreement_weights(values)).reshape(shape).numpy(),
            "borda_validation_and_agreement": borda(trusted).reshape(shape).numpy(),
        }

    @cached_property
    def smoothed(self) -> dict[str, Array]:
        found = {}
        for name in SMOOTHED:
            values = self.criteria[name]
            found[f"{name}, half additive"] = half_additive(values)
            found[f"{name}, rank one"] = rank_one(values)
            found[f"agreement with the best by {name}"] = agreement_with_best(
                values, self.test_scores
            )
        return found

    @cached_property
    def values(self) -> dict[str, Array]:
        return {**self.criteria, **self.consensus, **self.combined, **self.smoothed}

    def sees_scoring(self, name: str) -> bool:
        return name not in CONSENSUS and not (
            name in self.criteria and not get_criterion(name).sees_scoring
        )

    def settings(self, name: str) -> Array:
        """The setting of each trial where this contender leads."""
        if not self.sees_scoring(name):
            return self.chosen
        return own_settings(self.values[name], self.study.default_setting)

    def regrets(self) -> dict[str, dict[str, float]]:
        """Of every contender in each game, by the game."""
        default, truth = self.study.default_setting, self.auroc
        found: dict[str, dict[str, float]] = {game: {} for game in GAMES}
        for name, values in self.values.items():
            found["both"][name] = regret_of_both(truth, values, self.settings(name))
            found["trial"][name] = regret_of_trial(truth, values, default)
            if self.sees_scoring(name):
                found["setting"][name] = regret_of_setting(truth, values)
        for name in (*LEADING, *self.combined):
            found["both"] |= self._robust(name)
        found["both"][FIXED] = self._shortfall(self._fixed)
        for name in SMOOTHED:
            found["both"] |= self._with_fixed(name)
        return found

    @cached_property
    def _fixed(self) -> torch.Tensor:
        """Scores `[M]` of the detector that nobody trains; all trials share what it sees."""
        evidence = self.study.trials[0]
        normal, test = evidence.normal_appearance, evidence.test_appearance
        assert normal is not None and test is not None
        return unusualness(normal, test)

    def _shortfall(self, scores: torch.Tensor) -> float:
        """Regret of scores `[M]` of the batch."""
        bad = torch.from_numpy(self.study.anomalous)
        return float(self.auroc.max()) - float(auroc(scores[None, bad], scores[None, ~bad])[0])

    def _with_fixed(self, name: str) -> dict[str, float]:
        """The untrained detector as one more trial, and as one more member of the ensemble."""
        own = torch.tensor([reference_validation(self.study.trials[0])])
        if name == REFERENCED:
            own = referenced(own, torch.ones(1), float(own))
        settings, values = self.settings(name), self.values[name]
        best = pick(values, settings)
        found = f"{name}{WITH_FIXED}"
        if best is None or not bool(own >= values[best]):
            kept = math.nan if best is None else float(self.auroc.max() - self.auroc[best])
        else:
            kept = self._shortfall(self._fixed)
        rows = torch.cat((self._best_rows(name), self._fixed[None]))
        return {found: kept, f"ensemble {found}": self._shortfall(ensemble_scores(rows))}

    def _best_rows(self, name: str) -> torch.Tensor:
        """Scores `[k, M]` of the best few trials, each under its setting."""
        settings = self.settings(name)
        trials = np.arange(len(settings))
        rows = self.test_scores[torch.from_numpy(trials), torch.from_numpy(settings)]
        return rows[top(torch.from_numpy(self.values[name][trials, settings]), BEST)]

    def _robust(self, name: str) -> dict[str, float]:
        """Of the best few by a contender: the one most agreed with, and the mean of their ranks."""
        settings = self.settings(name)
        trials = np.arange(len(settings))
        values = torch.from_numpy(self.values[name][trials, settings])
        if bool(values.isnan().all()):
            return {f"robust {name}": math.nan, f"ensemble {name}": math.nan}
        rows = self.test_scores[torch.from_numpy(trials), torch.from_numpy(settings)]
        agreement = CONSENSUS["model_centrality"].evaluate(rows)
        trial = robust_pick(values, agreement, BEST)
        return {
            f"robust {name}": float(self.auroc.max() - self.auroc[trial, settings[trial]]),
            f"ensemble {name}": self._shortfall(ensemble_scores(self._best_rows(name))),
        }

    def rung_values(self, name: str) -> Array:
        """A criterion at each rung under the setting that it liked best there: `[T, R]`."""
        if name == REFERENCED and name not in self.study.rung_criteria:
            # It came after the first pools, which hold its parts.
            parts = (
                self._at_rungs(part) for part in ("synthetic_validation", "reference_agreement")
            )
            own = reference_validation(self.study.trials[0])
            values = referenced(*(torch.from_numpy(part) for part in parts), own).numpy()
        else:
            values = self._at_rungs(name)
        known = np.isfinite(values)
        return np.where(known.any(2), np.where(known, values, -np.inf).max(2), np.nan)

    def _at_rungs(self, name: str) -> Array:
        """`[T, R, S]`, higher better."""
        index = list(self.study.rung_criteria).index(name)
        values = self.study.rungs[:, :, index].astype(np.float64)
        return values if get_criterion(name).direction == "maximize" else -values


def table_of(judged: Sequence[Judged], regrets: Sequence[Mapping[str, float]]) -> dict:
    """`contender -> task -> regrets, a seed each`."""
    table: dict[str, dict[str, list[float]]] = {}
    for one, row in zip(judged, regrets, strict=True):
        for name, value in row.items():
            table.setdefault(name, {}).setdefault(one.study.task, []).append(value)
    return table
