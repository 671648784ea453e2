"""A mixture of augmentations whose weights are learned, so that the kind is tuned too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from methods.augmentation.blend import BLEND
from methods.augmentation.contract import Augmentation, Draw, Size, Values
from methods.augmentation.cutdiff import CUTDIFF_SIGNED
from methods.augmentation.thread import THREAD
from methods.hyperparameter import Hyperparameter

_LOGIT = 5.0


def mixture(name: str, members: Sequence[Augmentation], temperature: float = 0.5) -> Augmentation:
    """Every image is a blend of what the members make of it, mostly of one member.

    The weights of an image are softmax((logits + Gumbel noise) / temperature), the concrete
    distribution (Maddison et al., 2017; Jang et al., 2017): towards temperature 0 each image takes
    one member, with probability softmax(logits); at 0.5 most images are near that and the weights
    still have a gradient. Parameters are a `logit.MEMBER` for each member and `MEMBER.PARAMETER`;
    only differences of logits matter. Raises ValueError for fewer than two members, a member
    twice, one that is not differentiable, or a temperature outside [0.05, 10].
    """
    names = [member.name for member in members]
    if len(members) < 2 or len(set(names)) != len(names):
        raise ValueError(f"members are {', '.join(names)}, but must be two or more different ones")
    fixed = [member.name for member in members if not member.differentiable]
    if fixed:
        raise ValueError(f"{', '.join(fixed)} cannot be learned by gradient; leave it out")
    if not 0.05 <= temperature <= 10:
        raise ValueError(f"temperature is {temperature}, but must be from 0.05 to 10")

    def draw_rows(batch: int, size: Size, generator: torch.Generator) -> dict[str, Tensor]:
        uniform = torch.rand(batch, len(members), generator=generator, device=generator.device)
        tiny = torch.finfo(uniform.dtype).tiny
        rows = {"gumbel": -torch.log(-torch.log(uniform.clamp(tiny, 1 - 1e-7)))}
        for member in members:
            drawn = member.draw_rows(batch, size, generator)
            rows |= {f"{member.name}.{key}": row for key, row in drawn.items()}
        return rows

    def transform(images: Tensor, parameters: Mapping[str, Tensor], draw: Draw) -> Tensor:
        logits = torch.stack([parameters[f"logit.{key}"] for key in names])
        weights = torch.softmax((logits + draw["gumbel"]) / temperature, dim=1)
        mixed = torch.zeros_like(images)
        for index, member in enumerate(members):
            own = {p: parameters[f"{member.name}.{p}"] for p in member.names}
            made = member.transform(images, own, draw.under(member.name))
            mixed = mixed + weights[:, index, None, None, None] * made
        # A sum of weights may exceed 1 by a rounding error.
        return mixed.clamp(0.0, 1.0)

    def resolve(values: Values, size: Size) -> dict[str, float]:
        resolved = dict(values)
        for member in members:
            own = member.resolve({p: values[f"{member.name}.{p}"] for p in member.names}, size)
            resolved |= {f"{member.name}.{p}": value for p, value in own.items()}
        return resolved

    logits = tuple(
        Hyperparameter(
            f"logit.{key}",
            0.0,
            f"logarithm of the weight of {key}, up to a constant",
            low=-_LOGIT,
            high=_LOGIT,
            source="Maddison et al., 2017",
        )
        for key in names
    )
    ranges: dict[str, tuple[float, float]] = {f"logit.{key}": (-1.0, 1.0) for key in names}
    periods: dict[str, float] = {}
    declared = list(logits)
    for member in members:
        declared += [replace(p, name=f"{member.name}.{p.name}") for p in member.hyperparameters]
        ranges |= {f"{member.name}.{p}": pair for p, pair in member.ranges.items()}
        periods |= {f"{member.name}.{p}": period for p, period in member.periods.items()}
    return Augmentation(
        name=name,
        title="a learned mixture of " + ", ".join(names),
        source="ours; weights as in Maddison et al., 2017",
        hyperparameters=tuple(declared),
        differentiable=True,
        draw_rows=draw_rows,
        transform=transform,
        ranges=ranges,
        starts=_starts(members),
        periods=periods,
        resolve=resolve,
        unresolved="a member would be narrower than a pixel and have no gradient",
    )


def _starts(members: Sequence[Augmentation]) -> tuple[Values, ...]:
    """Even weights: as many starts as the longest list of a member, the others going round."""
    count = max(len(member.starts) for member in members)
    starts: list[Values] = []
    for index in range(count):
        start: dict[str, float] = {}
        for member in members:
            if member.starts:
                own = member.starts[index % len(member.starts)]
                start |= {f"{member.name}.{p}": value for p, value in own.items()}
        starts.append(start)
    return tuple(starts)


def mixture_weights(values: Values) -> dict[str, float]:
    """The probability of each member, from the mixture's values by name."""
    logits = {k.removeprefix("logit."): v for k, v in values.items() if k.startswith("logit.")}
    highest = max(logits.values())
    weights = {name: math.exp(logit - highest) for name, logit in logits.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


MIXTURE = mixture("mixture", (CUTDIFF_SIGNED, THREAD, BLEND))
