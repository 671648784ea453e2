"""A smooth patch on the pixel grid: where it lies, how it is shaped, how small it may be."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from methods.augmentation.contract import Draw, Size, Values
from methods.hyperparameter import Hyperparameter

# A Gaussian narrower than half a pixel lies between the pixels: no change and no gradient.
_NARROWEST = 0.5
UNRESOLVED = "the patch would be narrower than a pixel and have no gradient"

LOG_SIZE = Hyperparameter(
    "log_size",
    math.log(1e-2),
    "logarithm of the patch's size, a share of the image's area; half of its depth is reached on"
    " pi ln 2 = 2.18 times that area",
    low=math.log(1e-5),
    high=0.0,
    symbol="s = sqrt(size)",
    source="ST-SSAD, section 3.2.1",
)
LOG_RATIO = Hyperparameter(
    "log_ratio",
    0.0,
    "logarithm of the square root of the aspect: positive is wide, 0 a circle",
    low=-2.0,
    high=2.0,
    symbol="log r",
    source="ST-SSAD, section 3.2.1",
)
ANGLE = Hyperparameter(
    "angle",
    0.0,
    "angle of the patch, from down towards right",
    low=-2 * math.pi,
    high=2 * math.pi,
    unit="rad",
    symbol="g",
    source="ST-SSAD, section 3.2.1",
)
SHAPE = (LOG_SIZE, LOG_RATIO, ANGLE)
SHAPE_RANGES: Mapping[str, tuple[float, float]] = {
    "log_size": (math.log(1e-4), math.log(1e-1)),
    "log_ratio": (-0.6, 0.6),
    "angle": (0.0, math.pi),
}
SHAPE_PERIODS: Mapping[str, float] = {"angle": math.pi}
# The four initial sizes of the paper; angle and (logarithmic) ratio zero.
SIZE_STARTS: tuple[Values, ...] = tuple(
    {"log_size": math.log(size)} for size in (1e-4, 1e-3, 1e-2, 1e-1)
)


def unit_length(size: Size) -> float:
    """Pixels of a length of 1: the root of the area, so that a patch's area is a share of the
    image's and a rotation is one on images that are not square too."""
    return math.sqrt(size[0] * size[1])


def narrowest(size: Size) -> float:
    """The least half-axis that an image shows, as a length."""
    return _NARROWEST / unit_length(size)


def draw_centres(batch: int, size: Size, generator: torch.Generator) -> dict[str, Tensor]:
    """One centre an image, uniform over it: `[B, 2]`, row and column in [0, 1]."""
    return {"centre": torch.rand(batch, 2, generator=generator, device=generator.device)}


def offsets(draw: Draw) -> tuple[Tensor, Tensor]:
    """Rows down and columns right from each image's centre, `[B, H, 1]` and `[B, 1, W]` lengths.

    Pixel (i, j), counted from 1, lies at (i, j) as in Algorithm 2 of ST-SSAD.
    """
    centre = draw["centre"]
    height, width = draw.size
    unit = unit_length(draw.size)
    rows = torch.arange(1, height + 1, dtype=centre.dtype, device=centre.device)
    columns = torch.arange(1, width + 1, dtype=centre.dtype, device=centre.device)
    down = (rows - height * centre[:, :1]) / unit
    right = (columns - width * centre[:, 1:]) / unit
    return down[:, :, None], right[:, None, :]


def turned(down: Tensor, right: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates along and across a direction that points `angle` from down towards right."""
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return cosine * down + sine * right, cosine * right - sine * down


def shaped_patch(parameters: Mapping[str, Tensor], draw: Draw) -> Tensor:
    """`[B, 1, H, W]` in (0, 1]: exp(-d' (L L')^-1 d) with L = R(angle) diag(s / r, s r).

    ST-SSAD, Algorithm 2, line 5, with size = s squared as a share of the image's area.
    """
    along, across = turned(*offsets(draw), parameters["angle"])
    half_size = parameters["log_size"] / 2
    first = along * torch.exp(parameters["log_ratio"] - half_size)
    second = across * torch.exp(-parameters["log_ratio"] - half_size)
    return torch.exp(-(first**2) - second**2)[:, None]


def triangular_patch(parameters: Mapping[str, Tensor], draw: Draw) -> Tensor:
    """`[B, 1, H, W]` in (0, 1]: exp(-|u|^2) with L u = d and L = [[l11, 0], [l21, l22]]."""
    down, right = offsets(draw)
    first = down / parameters["l11"]
    second = (right - parameters["l21"] * first) / parameters["l22"]
    return torch.exp(-(first**2) - second**2)[:, None]


def resolve_shape(values: Values, size: Size) -> dict[str, float]:
    """Enlarge a patch, at its ratio, until its short half-axis is half a pixel."""
    least = 2 * (math.log(narrowest(size)) + abs(values["log_ratio"]))
    return {**values, "log_size": max(values["log_size"], least)}


def resolve_triangular(values: Values, size: Size) -> dict[str, float]:
    """Widen an ellipse's short half-axis to half a pixel, keeping its directions."""
    lower = torch.tensor(
        [[values["l11"], 0.0], [values["l21"], values["l22"]]], dtype=torch.float64
    )
    squares, directions = torch.linalg.eigh(lower @ lower.T)
    least = narrowest(size) ** 2
    if squares[0] >= least * (1 - 1e-9):
        return dict(values)
    widened = directions @ torch.diag(squares.clamp(min=least)) @ directions.T
    factor = torch.linalg.cholesky(widened)
    return {
        "l11": float(factor[0, 0]),
        "l21": float(factor[1, 0]),
        "l22": float(factor[1, 1]),
    }
