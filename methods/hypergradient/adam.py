"""The step that a hypergradient goes through where the training itself goes on with Adam.

Adam divides by a root of the gradient, whose derivative is as rough as the gradient is noisy. What
is differentiated is therefore a step of gradient descent with momentum (`InnerStep`) that points
where Adam's momentum points and is as long as Adam's step. It is looked at and thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.hypergradient.inner_step import InnerStep


@dataclass(frozen=True)
class Momentum:
    """A step, and by parameter the velocity that it starts with; both constants."""

    step: InnerStep
    velocity: Mapping[str, Tensor]


def momentum_of(optimiser: torch.optim.Adam, network: nn.Module, share: float) -> Momentum:
    """The step ahead on a part of what is trained on, with the momentum of all of it.

    With m Adam's running mean of gradients, v its running mean of squares (both corrected for
    their start where Adam does) and b its first decay, the velocity is m / (1 - b), and the rate
    the length of Adam's step, lr * m / (sqrt(v) + eps), over the velocity's. The gradient of the
    part weighs `share`, in (0, 1], against it: the rate is multiplied by it and the velocity
    divided. Raises ValueError for a parameter that the optimiser has not moved yet.
    """
    group = optimiser.param_groups[0]
    first, second = group["betas"]
    velocity, lengths, count = {}, [], 0.0
    for name, parameter in network.named_parameters():
        state = optimiser.state.get(parameter)
        if not state:
            raise ValueError(f"the optimiser has not moved {name} yet: train a step before")
        # All parameters have seen as many steps, and each look would wait for a device.
        count = count or float(state["step"])
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        root = (square / (1 - second**count)).sqrt() + group["eps"]
        step, run = mean / (1 - first**count) / root, mean / (1 - first)
        lengths.append(torch.stack([step.square().sum(), run.square().sum()]).double())
        velocity[name] = mean / ((1 - first) * share)
    ahead, running = torch.stack(lengths).sum(0).tolist()
    ratio = math.sqrt(ahead / max(running, 1e-30))
    return Momentum(InnerStep(max(share * group["lr"] * ratio, 1e-12), momentum=first), velocity)
