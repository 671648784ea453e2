"""CutDiff as a corruption: a smooth dark or bright patch whose parameters may be learned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.augmentation import patch
from methods.augmentation.contract import Draw
from methods.augmentation.cutdiff import CUTDIFF_SIGNED
from methods.corruption.rows import Rows
from methods.hyperparameter import Hyperparameter, Value

PREFIX = "cutdiff_"
_SHAPE = frozenset({"size", "ratio", "angle"})
# What is taken over of the augmentations that another method may have learned.
ADOPTED: Mapping[str, frozenset[str]] = {
    "cutdiff": _SHAPE,
    "cutdiff-signed": _SHAPE | {"amplitude"},
    "cutdiff-coloured": _SHAPE,
}


@dataclass(frozen=True)
class CutDiffSettings:
    """One CutDiff in natural units; see `methods.corruption.hyperparameters`.

    The fields, without their prefix, are the parameters of `cutdiff-signed` in
    `methods.augmentation`; size and ratio stand there as logarithms.
    """

    cutdiff_size: float = 0.01
    cutdiff_ratio: float = 1.0
    cutdiff_angle: float = 0.0
    cutdiff_amplitude: float = 1.0


@dataclass(frozen=True)
class CutDiffDraw(Rows):
    """A patch for each of B samples: `centre` `[B, 2]`, row and column in [0, 1], and `[B]` each
    of its parameters."""

    centre: Tensor
    log_size: Tensor
    log_ratio: Tensor
    angle: Tensor
    amplitude: Tensor


def vector_of(settings: CutDiffSettings, size: tuple[int, int]) -> Tensor:
    """The settings as a vector `[4]`, float64, of `cutdiff-signed`.

    A patch that images of `size` cannot show is enlarged until they can.
    """
    values = {
        name: getattr(settings, PREFIX + name.removeprefix("log_")) for name in CUTDIFF_SIGNED.names
    }
    learned = {n: math.log(v) if n.startswith("log_") else v for n, v in values.items()}
    return CUTDIFF_SIGNED.project(CUTDIFF_SIGNED.vector(_bounded(learned)), size)


def settings_of(vector: Tensor) -> dict[str, float]:
    """The hyperparameters, by name, that a vector `[4]` of `cutdiff-signed` stands for."""
    found = {}
    for name, value in CUTDIFF_SIGNED.values(vector).items():
        natural = math.exp(value) if name.startswith("log_") else value
        found[PREFIX + name.removeprefix("log_")] = float(f"{natural:.12g}")
    return found


def adopted(augmentation: str, tuned: Mapping[str, float]) -> dict[str, Value]:
    """Hyperparameters of the corruption that stand for a CutDiff learned elsewhere.

    `tuned` are public values of the augmentation, or the same under the names that they have here;
    what lies outside the bounds here is moved inside. The colour of `cutdiff-coloured` is not taken
    over. CutDiff then counts as much as all occlusions together. Empty for other augmentations.
    """
    if augmentation not in ADOPTED:
        return {}
    given = {name.removeprefix(PREFIX): float(value) for name, value in tuned.items()}
    found: dict[str, Value] = {"cutdiff_share": 1.0}
    for declared in CUTDIFF_SIGNED.hyperparameters:
        short = declared.name.removeprefix("log_")
        if short in given and short in ADOPTED[augmentation]:
            found[PREFIX + short] = _within(declared, given[short])
    return found


def draw_cutdiff(
    batch: int, size: tuple[int, int], generator: torch.Generator, settings: CutDiffSettings
) -> CutDiffDraw:
    """One centre a sample, uniform over the image (ST-SSAD, Algorithm 2)."""
    centre = patch.draw_centres(batch, size, generator)["centre"]
    rows = vector_of(settings, size).to(centre).expand(batch, -1)
    return CutDiffDraw(centre, *rows.unbind(dim=1))


def paint_cutdiff(images: Tensor, draw: CutDiffDraw) -> tuple[Tensor, Tensor]:
    """Images `[B, 3, H, W]` with the patch, clip(x - A p), and where it is, `[B, 1, H, W]`: |A| p.

    The depth of a patch is what the opacity of an occlusion is, hence its place in the mask.
    """
    named = {
        name: getattr(draw, name)[:, None, None] for name in ("log_size", "log_ratio", "angle")
    }
    depth = draw.amplitude[:, None, None, None]
    size = (int(images.shape[2]), int(images.shape[3]))
    shape = patch.shaped_patch(named, Draw(size, {"centre": draw.centre}))
    return (images - depth * shape).clamp(0.0, 1.0), depth.abs() * shape


def _within(declared: Hyperparameter, value: float) -> float:
    """A natural value within the bounds of its parameter, which may be those of its logarithm."""
    assert declared.low is not None and declared.high is not None
    low, high = declared.low, declared.high
    if declared.name.startswith("log_"):
        low, high = math.exp(low), math.exp(high)
    return min(max(value, low), high)


def _bounded(values: Mapping[str, float]) -> dict[str, float]:
    """Within the declared bounds, past which the logarithm of a bound may fall by rounding."""
    found = {}
    for declared in CUTDIFF_SIGNED.hyperparameters:
        assert declared.low is not None and declared.high is not None
        found[declared.name] = min(max(values[declared.name], declared.low), declared.high)
    return found
