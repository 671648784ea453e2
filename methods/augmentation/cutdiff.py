"""CutDiff: a smooth patch that is subtracted, in the paper's form and with learned colour."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from methods.augmentation import patch
from methods.augmentation.contract import Augmentation, Draw
from methods.hyperparameter import Hyperparameter

_PAPER = "ST-SSAD, Algorithm 2"


def _amplitude(name: str, help: str) -> Hyperparameter:
    return Hyperparameter(name, 0.5, help, low=-1.0, high=1.0, symbol="A", source="ours")


def _factor(name: str, default: float, low: float) -> Hyperparameter:
    help = "entry of the triangular root L of the patch's covariance"
    unit = "root of the image's area"
    return Hyperparameter(
        name, default, help, low=low, high=2.0, unit=unit, symbol=name, source=_PAPER
    )


def _subtract(images: Tensor, patches: Tensor) -> Tensor:
    return (images - patches).clamp(0.0, 1.0)


def _darken(images: Tensor, parameters: Mapping[str, Tensor], draw: Draw) -> Tensor:
    return _subtract(images, patch.shaped_patch(parameters, draw))


def _darken_triangular(images: Tensor, parameters: Mapping[str, Tensor], draw: Draw) -> Tensor:
    return _subtract(images, patch.triangular_patch(parameters, draw))


def _shade(images: Tensor, parameters: Mapping[str, Tensor], draw: Draw) -> Tensor:
    return _subtract(images, parameters["amplitude"] * patch.shaped_patch(parameters, draw))


def _tint(images: Tensor, parameters: Mapping[str, Tensor], draw: Draw) -> Tensor:
    colour = torch.stack([parameters[name] for name in ("red", "green", "blue")])
    return _subtract(images, colour.view(1, 3, 1, 1) * patch.shaped_patch(parameters, draw))


CUTDIFF = Augmentation(
    name="cutdiff",
    title="CutDiff: a smooth dark patch, by size, ratio and angle",
    source=_PAPER,
    hyperparameters=patch.SHAPE,
    differentiable=True,
    draw_rows=patch.draw_centres,
    transform=_darken,
    ranges=patch.SHAPE_RANGES,
    starts=patch.SIZE_STARTS,
    periods=patch.SHAPE_PERIODS,
    resolve=patch.resolve_shape,
    unresolved=patch.UNRESOLVED,
)

CUTDIFF_CHOLESKY = Augmentation(
    name="cutdiff-cholesky",
    title="CutDiff: a smooth dark patch, by the triangular matrix of the paper",
    source=_PAPER,
    hyperparameters=(
        _factor("l11", 0.1, 1e-3),
        _factor("l21", 0.0, -2.0),
        _factor("l22", 0.1, 1e-3),
    ),
    differentiable=True,
    draw_rows=patch.draw_centres,
    transform=_darken_triangular,
    ranges={"l11": (0.01, 0.3), "l21": (-0.1, 0.1), "l22": (0.01, 0.3)},
    starts=tuple({"l11": size**0.5, "l22": size**0.5} for size in (1e-4, 1e-3, 1e-2, 1e-1)),
    resolve=patch.resolve_triangular,
    unresolved=patch.UNRESOLVED,
)

CUTDIFF_SIGNED = Augmentation(
    name="cutdiff-signed",
    title="CutDiff with a learned amplitude: a negative one brightens",
    source="ours, after " + _PAPER,
    hyperparameters=(
        *patch.SHAPE,
        _amplitude("amplitude", "depth of the patch: 1 is the paper's, below 0 it is bright"),
    ),
    differentiable=True,
    draw_rows=patch.draw_centres,
    transform=_shade,
    ranges={**patch.SHAPE_RANGES, "amplitude": (-1.0, 1.0)},
    starts=tuple(
        {**start, "amplitude": sign} for start in patch.SIZE_STARTS[1:] for sign in (0.5, -0.5)
    ),
    periods=patch.SHAPE_PERIODS,
    resolve=patch.resolve_shape,
    unresolved=patch.UNRESOLVED,
)

CUTDIFF_COLOURED = Augmentation(
    name="cutdiff-coloured",
    title="CutDiff with a learned amplitude for each channel",
    source="ours, after " + _PAPER,
    hyperparameters=(
        *patch.SHAPE,
        *(_amplitude(c, f"what the patch takes from {c}") for c in ("red", "green", "blue")),
    ),
    differentiable=True,
    draw_rows=patch.draw_centres,
    transform=_tint,
    ranges={
        **patch.SHAPE_RANGES,
        "red": (-1.0, 1.0),
        "green": (-1.0, 1.0),
        "blue": (-1.0, 1.0),
    },
    starts=tuple(
        {**start, "red": sign, "green": sign, "blue": sign}
        for start in patch.SIZE_STARTS[1:]
        for sign in (0.5, -0.5)
    ),
    periods=patch.SHAPE_PERIODS,
    resolve=patch.resolve_shape,
    unresolved=patch.UNRESOLVED,
)
