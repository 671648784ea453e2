"""The course of a training: from rung to rung, with a look at the loss now and then."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from methods.contract import Context, Diverged

_CHECK_STEPS = 50  # steps between looks at the loss where each look would wait for a device


class Stepped(Protocol):
    """A training that goes a step at a time."""

    step_number: int

    def step(self) -> Tensor:
        """Train on the next batch; the mean loss, detached, on the device."""
        ...


def rungs_of(training: Stepped, steps: int, context: Context) -> Iterator[tuple[int, float]]:
    """Train to each of `context.rungs` equally spaced steps; yields the rung and the mean loss
    since the one before. Rungs that the training has behind it are left out.

    Raises ValueError for fewer steps than rungs, and `Diverged` where the loss is not finite.
    """
    if steps < context.rungs:
        raise ValueError(
            f"steps is {steps}, but must be at least the number of rungs, {context.rungs}"
        )
    eager = context.device.type == "cpu" and context.world_size == 1
    for rung in range(1, context.rungs + 1):
        last = rung * steps // context.rungs
        if training.step_number >= last:
            continue
        total, first = torch.zeros((), device=context.device), training.step_number
        while training.step_number < last:
            loss = training.step()
            total += loss
            done = training.step_number
            if eager or done % _CHECK_STEPS == 0:
                finite(loss, done, context)
        yield rung, finite(total / (last - first), last, context)


def finite(loss: Tensor, step: int, context: Context) -> float:
    """The mean over ranks as a number; every rank raises `Diverged` alike."""
    value = float(context.all_reduce(loss) if context.world_size > 1 else loss)
    if not math.isfinite(value):
        raise Diverged(
            f"the training loss is {value} at step {step}; a smaller learning_rate may help"
        )
    return value
