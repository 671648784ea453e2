"""The scoring tier of maps on the coarse grid of a feature extractor.

A detector on features of several strides has a raw map for each level (a stride, or all of them
together) and each discrepancy. Side lengths are shares of the grid, as they are of an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.contract import Scoring
from methods.hyperparameter import Hyperparameter, complete
from methods.scoring import tier
from methods.scoring.normalisation import NORMALISATION, MapStatistics
from methods.scoring.pipeline import SCORING

ALL = "all"
DISCREPANCIES = ("mse", "standardised", "cosine")

_DEFAULTS = {
    "discrepancy": "mse",
    "smoothing_passes": 2,
    "smoothing_size": 3 / 16,
    "pooling": "top5",
    "map_normalisation": "ratio",
    "border": 1 / 16,
}


def _declared(parameter: Hyperparameter) -> Hyperparameter:
    changes = {"default": _DEFAULTS[parameter.name], "source": "ours"}
    if parameter.name == "discrepancy":
        changes |= {
            "choices": DISCREPANCIES,
            "help": "how features are compared: mean squared difference, the same in units of each"
            " channel's spread on held-out normals (standardised), or one minus the cosine",
        }
    return replace(parameter, **changes)  # type: ignore[arg-type]


LEVEL = Hyperparameter(
    "level",
    ALL,
    "features that are compared: those of all strides together, or of one; a stride that the"
    " detector does not use counts as all",
    choices=(ALL, "8", "16"),
    tier="scoring",
)
LEVEL_SCORING: tuple[Hyperparameter, ...] = (
    LEVEL,
    *(_declared(parameter) for parameter in (*SCORING, *NORMALISATION)),
)
MAP_SCORING = tuple(p for p in LEVEL_SCORING if p.name != "discrepancy")


def plan_of(
    scoring: Scoring,
    declared: Sequence[Hyperparameter],
    levels: Iterable[str],
    grid: tuple[int, int],
) -> tier.MapPlan:
    """A setting on raw maps named `LEVEL.DISCREPANCY`, or `LEVEL` where none is declared."""
    full = complete(declared, scoring, "scoring")
    level = str(full["level"])
    level = level if level in set(levels) else ALL
    raw = f"{level}.{full['discrepancy']}" if "discrepancy" in full else level
    return tier.plan_of(full, raw, grid)


def compared(
    residual: Tensor,
    target: Tensor,
    names: Iterable[str],
    slices: Mapping[str, slice],
    spread: Tensor,
) -> dict[str, Tensor]:
    """Raw maps `[B, h, w]` by name, of residuals `[B, C, h, w]` from targets of the same shape.

    `slices` are the channels of each level, `spread` `[C]` the root mean square residual of each
    channel on held-out normals. A cosine of a vanishing vector counts as 0.
    """
    found = {}
    for name in names:
        level, _, discrepancy = name.partition(".")
        own = slices[level]
        part = residual[:, own]
        if discrepancy == "mse":
            found[name] = part.square().mean(1)
        elif discrepancy == "standardised":
            found[name] = (part / spread[own, None, None]).square().mean(1)
        else:
            there = target[:, own]
            found[name] = 1 - F.cosine_similarity(there + part, there, dim=1)
    return found


def statistics_of(raw: Mapping[str, Tensor]) -> dict[str, MapStatistics]:
    """Statistics of raw maps `[V, h, w]` of held-out normals."""
    return {name: MapStatistics.measured(maps) for name, maps in raw.items()}


def enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps `[B, h, w]` on the grid brought to `[B, H, W]` bilinearly."""
    # kornia's `resize` is this call, at 1.1 times its cost and a second or more of import.
    shape = [int(n) for n in size]
    return F.interpolate(maps[:, None], shape, mode="bilinear", align_corners=False)[:, 0]


def all_names(levels: Iterable[str]) -> list[str]:
    """Every raw map that a residual gives."""
    return [f"{level}.{discrepancy}" for level in levels for discrepancy in DISCREPANCIES]


def spread_of(residual: Tensor) -> Tensor:
    """Root mean square of each channel `[C]` of residuals `[V, C, h, w]`, floored."""
    found = residual.square().mean((0, 2, 3)).sqrt()
    return found.clamp(min=max(1e-3 * float(found.max()), torch.finfo(torch.float32).tiny))
