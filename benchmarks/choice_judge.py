"""What each way of choosing would have registered in a kept study, and what that is worth.

A way of choosing gives scores of the batch and of the held-out normals, from what criteria may see
alone; its image AUROC, and what a threshold for 5 % false alarms misses and flags, are read off
with the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from choice_pool import MEMORY, METHOD, RAW, SCALES, space_of
from selection_pool import read_arrays, write_arrays
from torch import Tensor

from methods.criteria.contract import Evidence
from methods.criteria.reference import in_spreads
from methods.criteria.registry import get_criterion
from methods.ensemble import ScoreScale
from methods.feature_autoencoder.hyperparameters import SCORING
from methods.hyperparameter import Value
from methods.scoring import levels, tier
from methods.scoring.levels import MAP_SCORING
from methods.scoring.normalisation import MapStatistics, left_out
from tuner.evaluation.image_metrics import image_auroc
from tuner.registry.threshold import quantile_threshold

RATE = 0.05
CRITERIA = (
    "agreed_score_variance",
    "referenced_synthetic_validation",
    "reference_agreement",
    "synthetic_validation",
    "aligned_synthetic_validation",
    "matched_synthetic_validation",
    "resembling_synthetic_validation",
    "score_variance_standardised",
    "score_variance",
)
_NOTHING = torch.zeros(1, 2)


@dataclass(frozen=True)
class Scored:
    """Scores of one detector under S settings: of the batch `[S, M]`, of held-out normals `[S, V]`
    (none of which takes part in its own normalisation) and of pasted defects `[S, Q]`."""

    test: Tensor
    held_out: Tensor
    pasted: Tensor


@dataclass(frozen=True)
class Picked:
    """What would be registered: scores of the batch `[M]` and of held-out normals `[V]`."""

    test: Tensor
    held_out: Tensor


@dataclass(frozen=True)
class Study:
    """One task and seed: trials with their scales, memories at each of `SCALES`, what criteria know
    of the pasted defects, and, for the judge, the truth."""

    task: str
    seed: int
    trials: Sequence[Scored]
    scales: Sequence[float]
    memories: Sequence[Scored]
    pasted: Mapping[str, np.ndarray]
    anomalous: np.ndarray

    @property
    def default(self) -> int:
        return space_of(METHOD).default_setting

    @cached_property
    def auroc(self) -> np.ndarray:
        """`[T, S]`."""
        rows = [[self.worth(scores) for scores in trial.test] for trial in self.trials]
        return np.array(rows)

    @cached_property
    def reference(self) -> tuple[Tensor, Tensor]:
        """Scores of the batch and of pasted defects by the memories of all scales, as a study's
        reference joins them."""
        parts = []
        for memory in self.memories:
            setting = memory_default()
            own, normals = (memory.test, memory.pasted), memory.held_out[setting]
            parts.append([in_spreads(scores[setting], normals) for scores in own])
        test, pasted = (torch.stack(part).mean(0) for part in zip(*parts, strict=True))
        return test, pasted

    def evidence(self, scored: Scored) -> Evidence:
        kept = {
            name: torch.from_numpy(self.pasted[name]) for name in self.pasted if name != "families"
        }
        test, pasted = self.reference
        return Evidence(
            test_scores=scored.test,
            held_out_scores=scored.held_out,
            synthetic_scores=scored.pasted,
            synthetic_on_test=kept["on_test"],
            synthetic_base=kept["base"],
            synthetic_family=kept["family"],
            families=tuple(self.pasted["families"].tolist()),
            train_embeddings=_NOTHING,
            corrupted_embeddings=_NOTHING,
            test_embeddings=_NOTHING.expand(len(test), -1),
            synthetic_cell=kept["cell"],
            normal_appearance=kept["normal_appearance"],
            test_appearance=kept["test_appearance"],
            synthetic_appearance=kept["appearance"],
            test_reference=test,
            synthetic_reference=pasted,
        )

    @cached_property
    def criteria(self) -> dict[str, np.ndarray]:
        """Each criterion of every trial under every setting `[T, S]`, higher better."""
        found = {}
        for name in CRITERIA:
            criterion = get_criterion(name)
            rows = [criterion.evaluate(self.evidence(trial)) for trial in self.trials]
            values = torch.stack(rows).numpy()
            values = values if criterion.direction == "maximize" else -values
            found[name] = np.where(np.isfinite(values), values, -np.inf)
        return found

    def worth(self, scores: Tensor) -> float:
        return float(image_auroc(self.anomalous, scores.double().numpy()))

    def figures(self, picked: Picked) -> dict[str, float]:
        """Image AUROC, and shares of defects missed and of normals flagged at the threshold."""
        limit = quantile_threshold(picked.held_out.double().numpy(), RATE).value
        over = picked.test.double().numpy() > limit
        return {
            "auroc": self.worth(picked.test),
            "missed": float((~over[self.anomalous]).mean()),
            "flagged": float(over[~self.anomalous].mean()),
        }


def memory_default() -> int:
    """The memory's default setting among those on features of all strides together."""
    space = space_of(MEMORY)
    kept = [setting for setting in space.grid if setting["level"] == levels.ALL]
    return kept.index(space.grid[space.default_setting])


def load(folder: Path, task: str, drawn: Sequence[Mapping[str, Value]]) -> Study:
    """A task of a kept study whose trials drew these hyperparameters."""
    shared, truth = read_arrays(folder / "study.npz"), read_arrays(folder / "truth.npz")
    names = [f"trial_{number:02d}" for number in range(len(drawn))]
    memories = [f"memory_{place + 1}" for place in range(len(SCALES))]
    return Study(
        task=task,
        seed=int(folder.name.removeprefix("seed_")),
        trials=[_scored(folder, name, task, METHOD) for name in names],
        scales=[float(values["scale"]) for values in drawn],
        memories=[_scored(folder, name, task, MEMORY) for name in memories],
        pasted={
            key.removeprefix(f"{task}."): value
            for key, value in shared.items()
            if key.startswith(f"{task}.")
        },
        anomalous=truth[task],
    )


def _scored(folder: Path, name: str, task: str, method: str) -> Scored:
    """Scores under the method's grid, kept beside the pool: raw maps cost time to score."""
    kept = folder / "scored" / f"{name}.{task}.npz"
    if not kept.is_file():
        with np.load(folder / f"{name}.npz") as file:
            found = _scores(file, task, method)
        write_arrays(kept, {part: scores.numpy() for part, scores in vars(found).items()})
    return Scored(**{part: torch.from_numpy(scores) for part, scores in read_arrays(kept).items()})


def _scores(file: Mapping[str, np.ndarray], task: str, method: str) -> Scored:
    declared = SCORING if method == METHOD else MAP_SCORING
    names = RAW[method]
    sides = file[f"held_out.{names[0]}"].shape[1:]
    plans = [
        levels.plan_of(setting, declared, (levels.ALL, "8", "16"), (sides[0], sides[1]))
        for setting in space_of(method).grid
    ]
    plans = [plan for plan in plans if plan.raw in names]

    def raw(part: str) -> dict[str, Tensor]:
        return {name: torch.from_numpy(file[f"{part}.{name}"]).float() for name in names}

    normals = raw("held_out")
    statistics = {name: MapStatistics.measured(maps) for name, maps in normals.items()}
    with left_out():
        held_out = tier.grid_scores(normals, plans, statistics)
    test, pasted = (
        tier.grid_scores(raw(f"{task}.{part}"), plans, statistics) for part in ("test", "pasted")
    )
    return Scored(test, held_out, pasted)


def joined(members: Sequence[Picked]) -> Picked:
    """As one model, by the shares that an ensemble averages."""
    parts = []
    for member in members:
        scale = ScoreScale.of(torch.cat((member.test, member.held_out)))
        parts.append((scale(member.test), scale(member.held_out)))
    return Picked(*(torch.stack(part).mean(0) for part in zip(*parts, strict=True)))


def ways(study: Study) -> dict[str, Picked]:
    """Every way of choosing by its name: without a search, then with one."""
    default = study.default

    def of(scored: Scored, setting: int) -> Picked:
        return Picked(scored.test[setting], scored.held_out[setting])

    memories = [of(memory, memory_default()) for memory in study.memories]
    defaults = [of(study.trials[place], default) for place in range(len(SCALES))]
    found = {
        "defaults": defaults[0],
        "memory": memories[0],
        "memories at every scale": joined(memories),
        "defaults at every scale": joined(defaults),
        "defaults and memories at every scale": joined([*defaults, *memories]),
    }
    for name, values in study.criteria.items():
        best = values.argmax(1)
        order = np.argsort(-values.max(1), kind="stable")
        found |= {
            f"defaults, scoring by {name}": of(study.trials[0], int(best[0])),
            f"single by {name}": of(study.trials[order[0]], int(best[order[0]])),
            f"best 3 by {name}": joined([of(study.trials[t], int(best[t])) for t in order[:3]]),
            f"best of each scale by {name}": joined(
                [of(study.trials[t], setting) for t, setting in best_of_each(study, name)]
            ),
        }
    return found


def best_of_each(study: Study, name: str) -> list[tuple[int, int]]:
    """The best trial at each scale by a criterion, and its best setting."""
    values = study.criteria[name]
    first: dict[float, int] = {}
    for trial in np.argsort(-values.max(1), kind="stable"):
        first.setdefault(study.scales[trial], int(trial))
    return [(trial, int(values[trial].argmax())) for trial in first.values()]


def controls(study: Study) -> dict[str, float]:
    """Image AUROC of a random pick (expected), of one under the default scoring, and of the best
    single trial and setting that there was."""
    return {
        "random pick": float(study.auroc.mean()),
        "random pick, default scoring": float(study.auroc[:, study.default].mean()),
        "best single": float(study.auroc.max()),
    }
