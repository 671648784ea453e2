"""The course of a training from rung to rung."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from methods.contract import Context, Detector, Diverged, Progress

_CHECK_STEPS = 50  # steps between looks at the loss where each look would wait for a device

AnyDetector = TypeVar("AnyDetector", bound=Detector)


class Training(Protocol):
    """What trains a step at a time: `step_number` counts the steps done, `step` gives this rank's
    loss, detached and still on the device, and `state` what a training needs to go on from here."""

    context: Context
    step_number: int

    def step(self) -> Tensor: ...

    def state(self) -> dict[str, Any]: ...


def course(
    training: Training,
    steps: int,
    detector: Callable[[], AnyDetector],
    diagnostics: Callable[[AnyDetector], Mapping[str, float]] = lambda detector: {},
    tuned: Callable[[], Mapping[str, float]] = dict,
) -> Iterator[Progress]:
    """Train for `steps` steps, yielding at equally spaced ones; `detector` takes a snapshot.

    Raises `Diverged` where a loss is not finite: after that step on a processor, within 50 steps
    where looking at a loss means waiting for a device or for other workers.
    """
    context = training.context
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
                _finite(loss, done, context)
        mean = _finite(total / (last - first), last, context)
        state, snapshot = training.state(), detector()
        yield Progress(
            rung=rung,
            train_loss=mean,
            detector=snapshot,
            tuned=tuned(),
            diagnostics=diagnostics(snapshot),
            state=partial(dict, state),
        )


def _finite(loss: Tensor, step: int, context: Context) -> float:
    """The mean over ranks as a number; every rank raises `Diverged` alike."""
    value = float(context.all_reduce(loss) if context.world_size > 1 else loss)
    if not math.isfinite(value):
        raise Diverged(
            f"the training loss is {value} at step {step}; a smaller learning_rate may help"
        )
    return value
