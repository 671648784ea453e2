"""One training run of a control: an optimiser, a course of its rate, and a loss of a step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from methods.contract import Context, Detector, Diverged, Progress, TrialData, unit
from methods.state import on_cpu
from methods.training.batches import choose

# Streams of a trial's seed.
INIT, BATCH, VALUES = range(3)


class Training:
    """Trains `network` on `loss(step)`, this worker's mean over its part of the batch.

    `rate(step)` is the learning rate. What a step sees must follow from its number alone, so that
    going on from a state equals never having stopped.
    """

    def __init__(
        self,
        context: Context,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        rate: Callable[[int], float],
        loss: Callable[[int], Tensor],
    ) -> None:
        self.context, self.network, self.optimiser = context, network.train(), optimiser
        self.rate, self.loss = rate, loss
        self.step_number = 0
        if context.resume is not None:
            self.network.load_state_dict(context.resume["network"])
            self.optimiser.load_state_dict(copy.deepcopy(dict(context.resume["optimiser"])))
            self.step_number = int(context.resume["step"])

    def step(self) -> float:
        """The loss before the step, averaged over workers; raises `Diverged` where not finite."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(self.step_number)
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(self.step_number)
        loss.backward()
        self.context.average_gradients(self.network.parameters())
        self.optimiser.step()
        self.step_number += 1
        value = float(self.context.all_reduce(loss.detach()))
        if not math.isfinite(value):
            raise Diverged(
                f"the training loss is {value} at step {self.step_number}; a smaller learning_rate"
                " may help"
            )
        return value

    def state(self) -> dict[str, Any]:
        """Everything that a training needs to go on from here, on the CPU."""
        state = {
            "step": self.step_number,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        copied: dict[str, Any] = on_cpu(state)
        return copied


def course(
    training: Training,
    steps: int,
    detector: Callable[[], Detector],
    diagnostics: Callable[[], Mapping[str, float]] = dict,
) -> Iterator[Progress]:
    """Train, yielding at `rungs` equally spaced steps; `detector` takes a snapshot."""
    context = training.context
    for rung in range(1, context.rungs + 1):
        last = rung * steps // context.rungs
        if training.step_number >= last:
            continue
        total, first = 0.0, training.step_number
        while training.step_number < last:
            total += training.step()
        mean = total / (last - first)
        state = training.state()
        yield Progress(rung, mean, detector(), diagnostics=diagnostics(), state=_returning(state))


def batch_at(data: TrialData, batch: int, context: Context, step: int) -> Tensor:
    """This worker's part of a step's normal images, float `[b, 3, H, W]` in [0, 1]."""
    chosen = choose(len(data.train), batch, context.generator(BATCH, step))
    return unit(data.train[chosen[context.share(batch)]])


def cosine(step: int, steps: int) -> float:
    """Falls from 1 to 0 along half a cosine."""
    return 0.5 * (1.0 + math.cos(math.pi * step / steps))


def _returning(state: dict[str, Any]) -> Any:
    return lambda: state
