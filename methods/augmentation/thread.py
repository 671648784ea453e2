"""A thread: a patch so long and thin that it becomes a line, bent and turned in every image."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from methods.augmentation import patch
from methods.augmentation.contract import Augmentation, Draw, Size, Values
from methods.hyperparameter import Hyperparameter


def _draw(batch: int, size: Size, generator: torch.Generator) -> dict[str, Tensor]:
    rows = patch.draw_centres(batch, size, generator)
    signed = 2 * torch.rand(batch, 2, generator=generator, device=generator.device) - 1
    return {**rows, "turn": signed[:, 0], "curve": signed[:, 1]}


def thread_patch(parameters: Mapping[str, Tensor], draw: Draw) -> Tensor:
    """`[B, 1, H, W]` in (0, 1]: a Gaussian along a parabola and (to first order) its distance.

    With `spread` and `bend` zero it is the patch of CutDiff whose half-axes are length and width.
    """
    angle = parameters["angle"] + parameters["spread"] * draw["turn"][:, None, None]
    along, across = patch.turned(*patch.offsets(draw), angle)
    along = along * torch.exp(-parameters["log_length"])
    # A bend of 1 lifts the ends, one half-length away, by one half-length.
    bend = parameters["bend"] * draw["curve"][:, None, None]
    across = across - bend * torch.exp(parameters["log_length"]) * along**2
    # On a slope the way across is shorter than the way up: without this, bent ends grow thin.
    across = across * torch.exp(-parameters["log_width"]) / torch.sqrt(1 + (2 * bend * along) ** 2)
    return torch.exp(-(along**2) - across**2)[:, None]


def _lay(images: Tensor, parameters: Mapping[str, Tensor], draw: Draw) -> Tensor:
    return (images - parameters["amplitude"] * thread_patch(parameters, draw)).clamp(0.0, 1.0)


def _resolve(values: Values, size: Size) -> dict[str, float]:
    least = math.log(patch.narrowest(size))
    return {
        **values,
        "log_width": max(values["log_width"], least),
        "log_length": max(values["log_length"], least),
    }


_LENGTH_UNIT = "log of a share of the root of the image's area"

THREAD = Augmentation(
    name="thread",
    title="a thin bent line, dark or bright, turned anew in every image",
    source="ours, after ST-SSAD, Algorithm 2 and its failure in Fig. 4",
    hyperparameters=(
        Hyperparameter(
            "log_width",
            math.log(0.02),
            "half-width of the thread",
            low=math.log(1e-3),
            high=math.log(0.2),
            unit=_LENGTH_UNIT,
            symbol="log s/r",
        ),
        Hyperparameter(
            "log_length",
            math.log(0.3),
            "half-length of the thread; above 1 it crosses the image",
            low=math.log(1e-2),
            high=math.log(3.0),
            unit=_LENGTH_UNIT,
            symbol="log s r",
        ),
        Hyperparameter(
            "angle",
            0.0,
            "middle of the threads' angles, from down towards right",
            low=-2 * math.pi,
            high=2 * math.pi,
            unit="rad",
            symbol="g",
        ),
        Hyperparameter(
            "spread",
            0.8,
            "how far the angle of one thread may be from the middle; pi/2 is any direction",
            low=0.0,
            high=math.pi / 2,
            unit="rad",
        ),
        Hyperparameter("bend", 0.3, "greatest rise of an end over length", low=0.0, high=2.0),
        Hyperparameter(
            "amplitude",
            0.5,
            "depth of the thread: below 0 it is bright",
            low=-1.0,
            high=1.0,
            symbol="A",
        ),
    ),
    differentiable=True,
    draw_rows=_draw,
    transform=_lay,
    ranges={
        "log_width": (math.log(0.005), math.log(0.05)),
        "log_length": (math.log(0.1), math.log(1.0)),
        "angle": (0.0, math.pi),
        "spread": (0.0, math.pi / 2),
        "bend": (0.0, 1.0),
        "amplitude": (-1.0, 1.0),
    },
    starts=tuple(
        {"log_length": math.log(length), "amplitude": amplitude}
        for length in (0.1, 0.5)
        for amplitude in (0.5, -0.5)
    ),
    periods={"angle": math.pi},
    resolve=_resolve,
    unresolved=patch.UNRESOLVED,
)
