"""The scoring hyperparameters, and what a setting of them asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from methods.contract import Scoring
from methods.hyperparameter import Hyperparameter, Value, by_name, complete
from methods.scoring import pipeline

_PAPER = "Dehaene et al. (2020)"

PROJECTED = ("projection", "projection-reconstruction")
GRADIENTS = ("gradient", "gradient-error", "kl-gradient", "kl-gradient-error")

WALK: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        "score",
        "projection",
        "what an image is compared with: its projection, the reconstruction of that, or its own "
        "reconstruction; or a score from a single gradient",
        choices=(*PROJECTED, "reconstruction", *GRADIENTS),
        source=f"{_PAPER}, 4.1; the gradients are those of its appendix A (Zimmerer et al., 2019)",
        tier="scoring",
    ),
    Hyperparameter(
        "update",
        "weighted",
        "the gradient as it is, or weighted by the squared reconstruction error",
        choices=("standard", "weighted"),
        source=f"{_PAPER}, Eq. 5 and Eq. 8",
        tier="scoring",
    ),
    Hyperparameter(
        "optimiser",
        "plain",
        "plain steps along the gradient, or those of Adam",
        choices=("plain", "adam"),
        source=f"{_PAPER}, 3.4 names Adam as beneficial",
        tier="scoring",
    ),
    Hyperparameter(
        "step_size",
        0.5,
        "length of a plain step; with a learned decoder variance gamma^2 it counts that much less",
        low=1e-4,
        high=100.0,
        log=True,
        symbol="α",
        source=f"{_PAPER}, 4.1; the factor gamma^2 is ours: the energy is 1 / gamma^2 as steep",
        tier="scoring",
    ),
    Hyperparameter(
        "adam_step_size",
        0.01,
        "length of a step of Adam, about what a pixel moves",
        low=1e-4,
        high=0.1,
        log=True,
        unit="grey range",
        source="ours; the paper gives none, and its 0.5 is no value for Adam",
        tier="scoring",
    ),
    Hyperparameter(
        "l1_weight",
        0.05,
        "weight of the distance from the image in the energy",
        low=0.0,
        high=10.0,
        symbol="λ",
        source=f"{_PAPER}, 4.1",
        tier="scoring",
    ),
    Hyperparameter(
        "iterations",
        20,
        "steps of the projection at most",
        low=1,
        high=1000,
        log=True,
        source="ours; the paper stops by the loss alone",
        tier="scoring",
    ),
    Hyperparameter(
        "stop_quantile",
        0.0,
        "an image is finished at this quantile of the training losses; 0 is the smallest",
        low=0.0,
        high=1.0,
        source=f"{_PAPER}, 4.1; a quantile in 3.5",
        tier="scoring",
    ),
)

_DEFAULTS: Mapping[str, Value] = {"smoothing_passes": 0, "pooling": "topk"}
_SOURCES = {
    "discrepancy": f"{_PAPER}, 4.1 (DSSIM)",
    "smoothing_passes": f"{_PAPER} smooths nothing",
    "pooling": "ours; the paper scores pixels only",
}
PIPELINE = tuple(
    replace(p, default=_DEFAULTS.get(p.name, p.default), source=_SOURCES.get(p.name, p.source))
    for p in pipeline.TIER
)
SCORING: tuple[Hyperparameter, ...] = (*WALK, *PIPELINE)
_BY_NAME = by_name(SCORING)
_PIPELINE = tuple(p.name for p in PIPELINE)


@dataclass(frozen=True)
class Path:
    """What fixes a walk through input space; how far to go along it is read off."""

    update: str
    optimiser: str
    step_size: float
    l1_weight: float
    stop_quantile: float


@dataclass(frozen=True)
class Setting:
    """A scoring setting taken apart: the score, its walk if it has one, and the pipeline's part."""

    score: str
    path: Path | None
    iterations: int
    pipeline: Mapping[str, Value]


def understand(scoring: Scoring) -> Setting:
    """Complete and check a setting. Raises ValueError for an unknown name or a value."""
    full: dict[str, Any] = {**complete(SCORING, scoring)}
    path = None
    if full["score"] in PROJECTED:
        adam = full["optimiser"] == "adam"
        path = Path(
            full["update"],
            full["optimiser"],
            full["adam_step_size" if adam else "step_size"],
            full["l1_weight"],
            full["stop_quantile"],
        )
    return Setting(
        full["score"], path, full["iterations"], {name: full[name] for name in _PIPELINE}
    )


def normal_form(scoring: Scoring) -> dict[str, Value]:
    """The setting complete, with the default in each place that means nothing in it.

    Settings that score alike have the same normal form.
    """
    full = complete(SCORING, scoring)
    idle: set[str] = set()
    if full["score"] not in PROJECTED:
        idle |= {p.name for p in WALK} - {"score"}
    idle.add("step_size" if full["optimiser"] == "adam" else "adam_step_size")
    if full["score"] in GRADIENTS:
        idle.add("discrepancy")
    if full["smoothing_passes"] == 0:
        idle.add("smoothing_size")
    return {n: _BY_NAME[n].default if n in idle else value for n, value in full.items()}
