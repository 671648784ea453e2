"""A study in a nutshell: no images, no training, a clock that tests move."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from methods.criteria.contract import Criterion, Evidence
from search_spaces.loader import Choice, Range
from tuner.study.budget import Budget
from tuner.study.conductor import Conductor, Terms
from tuner.study.files import CRITERION_PREFIX
from tuner.study.ledger import Entry, Ledger
from tuner.study.space import MethodSpace
from tuner.study.trial import TrialSpec


def _nothing(evidence: Evidence) -> torch.Tensor:
    return torch.zeros(1, dtype=torch.float64)


QUALITY = Criterion("quality", "Quality", "maximize", "a toy", True, _nothing)
COST = Criterion("cost", "Cost", "minimize", "a toy", True, _nothing)

SPACE = MethodSpace(
    method="toy",
    drawn={"rate": Range(0.0, 1.0), "kind": Choice(("a", "b")), "depth": Range(1, 4, integer=True)},
    fixed={"steps": 10},
    defaults={"rate": 0.5, "kind": "a", "depth": 2},
    grid=({"pooling": "max"},),
    default_setting=0,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def blank(**changes: Any) -> TrialSpec:
    values: dict[str, Any] = {
        "number": -1,
        "method": "",
        "hyperparameters": {},
        "grid": (),
        "criteria": ["quality"],
        "leading": "quality",
        "seed": 0,
        "rungs": 4,
        "folder": "",
    }
    return TrialSpec(**{**values, **changes})


def make_ledger(folder: Path, *, resume: bool = False, seed: int = 0, **options: Any) -> Ledger:
    values: dict[str, Any] = {"random_trials": 3, "reduction": 2, **options}
    return Ledger.create(
        values.pop("url", f"sqlite:///{folder / 'ledger.db'}"),
        "toy-study",
        values.pop("directions", ["maximize"]),
        values.pop("spaces", [SPACE]),
        seed=seed,
        resume=resume,
        **values,
    )


def make_conductor(
    ledger: Ledger, budget: str = "5", clock: Clock | None = None, **changes: Any
) -> Conductor:
    spaces = changes.pop("spaces", [SPACE])
    terms: dict[str, Any] = {
        "budget": Budget.parse(budget),
        "objectives": [QUALITY],
        "random_trials": 3,
        "rungs": 4,
        "blank": blank(),
        "folder": lambda number: f"trials/{number}",
    }
    observers = changes.pop("observers", ())
    return Conductor(ledger, spaces, Terms(**{**terms, **changes}), observers, clock or Clock())


def record(number: int, rung: int, quality: float | None, seconds: float = 1.0) -> dict[str, Any]:
    return {
        "number": number,
        "rung": rung,
        "criteria": {"quality": quality, "cost": quality},
        "setting": 0,
        "scoring": {"pooling": "max"},
        "train_loss": 1.0,
        "seconds": seconds * rung,
        "train_seconds": seconds * rung,
        "device_seconds": seconds * rung,
    }


def play(conductor: Conductor, quality: Any, clock: Clock | None = None) -> list[int]:
    """Run trials one by one until the conductor gives none; `quality(spec, rung)` is the value."""
    numbers = []
    while (spec := conductor.next()) is not None:
        numbers.append(spec.number)
        for rung in range(spec.after_rung + 1, spec.rungs + 1):
            if clock is not None:
                clock.now += 1.0
            if not conductor.report(spec.number, record(spec.number, rung, quality(spec, rung))):
                break
    return numbers


class Learner:
    """A method that pretends to learn where its patch lies, and takes what others learned."""

    name = "learner"

    def starts(self, hyperparameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{**hyperparameters, "initial_size": size} for size in (0.1, 0.2, 0.4)]

    def learned(self, hyperparameters: Mapping[str, Any], tuned: Mapping[str, float]) -> Any:
        return {**hyperparameters, **{f"initial_{name}": v for name, v in tuned.items()}}

    def augmentation(self, hyperparameters: Mapping[str, Any]) -> str:
        return "patch"

    def __getattr__(self, name: str) -> Any:
        # The rest of the protocol, which nothing here calls.
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: []


class Taker:
    """A method whose corruption has patches, too."""

    name = "taker"

    def adopt(self, augmentation: str, tuned: Mapping[str, float]) -> dict[str, Any]:
        return {"patch_size": tuned["size"], "patch_share": 0.5} if augmentation == "patch" else {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("learned", "starts"):
            raise AttributeError(name)
        return lambda *arguments: []


LEARNER = MethodSpace(
    method="learner",
    drawn={"initial_size": Range(0.01, 0.5, log=True), "rate": Range(0.0, 1.0)},
    fixed={"initial_angle": 0.0, "steps": 10},
    defaults={"initial_size": 0.1, "rate": 0.5},
    grid=({"pooling": "max"},),
    default_setting=0,
    siblings=({"initial_size": 0.2, "rate": 0.5}, {"initial_size": 0.4, "rate": 0.5}),
)

TAKER = MethodSpace(
    method="taker",
    drawn={"patch_size": Range(0.05, 0.3)},
    fixed={"patch_share": 0.0, "steps": 10},
    defaults={"patch_size": 0.1},
    grid=({"pooling": "max"},),
    default_setting=0,
)


def learning(
    number: int, rung: int, quality: float | None, variance: float | None = 1.0, **changes: Any
) -> dict[str, Any]:
    """The record of a self-tuning trial; `size` is what it learned."""
    size = changes.pop("size", 0.25)
    return {
        **record(number, rung, quality),
        "tuned": {"size": size, "angle": 1.0},
        "sibling_variance": variance,
        "comparable": True,
        "warnings": [],
        **changes,
    }


def trial(number: int, criteria: Mapping[str, float | None], **changes: Any) -> Entry:
    """A finished trial of the method `toy`, as the ledger would hold it."""
    last = {**record(number, 4, 0.0), "criteria": dict(criteria)}
    values: dict[str, Any] = {
        "number": number, "kind": "search", "method": "toy", "point": {}, "state": "finished",
        "records": (last,), "value": 0.0, "reason": "", "started": 0.0, "ended": 1.0,
    }  # fmt: skip
    return Entry(**{**values, **changes})


def keep_scores(
    folder: Path, test: Any, held_out: Any, criteria: Mapping[str, Any], setting: int = 0
) -> None:
    """Scores `[S, M]` and `[S, V]` and criteria `[S]` of a trial, as it keeps them."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {CRITERION_PREFIX + name: np.asarray(v, np.float64) for name, v in criteria.items()}
    np.savez(
        folder / "scores.npz", setting=np.asarray(setting),
        test=np.asarray(test, np.float32), held_out=np.asarray(held_out, np.float32), **arrays,
    )  # fmt: skip
