"""A training by one optimiser: the course of its rate, and the loss of a step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from methods.contract import Context, TrialData, unit
from methods.state import on_cpu
from methods.training.batches import choose

# Streams of a trial's seed.
INIT, BATCH, VALUES = range(3)


class GradientTraining:
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

    def step(self) -> Tensor:
        """This worker's loss before the step, detached."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(self.step_number)
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(self.step_number)
        loss.backward()
        self.context.average_gradients(self.network.parameters())
        self.optimiser.step()
        self.step_number += 1
        return loss.detach()

    def state(self) -> dict[str, Any]:
        """Everything that a training needs to go on from here, on the CPU."""
        state = {
            "step": self.step_number,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        copied: dict[str, Any] = on_cpu(state)
        return copied


def batch_at(data: TrialData, batch: int, context: Context, step: int) -> Tensor:
    """This worker's part of a step's normal images, float `[b, 3, H, W]` in [0, 1]."""
    chosen = choose(len(data.train), batch, context.generator(BATCH, step))
    return unit(data.train[chosen[context.share(batch)]])
