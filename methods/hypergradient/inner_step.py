"""One training step that leaves the network as it is until it is committed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from methods.contract import Context, Diverged
from methods.hypergradient.running import recorded
from methods.hypergradient.workers import mean_over_workers
from methods.networks.convolution import differentiated_in_images

Network = Callable[..., Any]


@dataclass(frozen=True)
class Losses:
    """The losses of one step. Each gets the network as a function of images and gives a scalar.
    `augmented` is what the augmentation gave: a tensor, or a tuple of them.

    The training loss is `tuned(network, augmented)` plus `fixed(network)`, where there is a part
    that does not see the augmented images: said apart, it costs no second derivatives. With batch
    normalisation the two parts must then be normalised apart, as they are where each calls the
    network itself. `validation(network, augmented)` is called with the network after the step.
    None may draw at random, or the step would not be the same function twice.
    """

    tuned: Callable[[Network, Any], Tensor]
    validation: Callable[[Network, Any], Tensor]
    fixed: Callable[[Network], Tensor] | None = None


@dataclass(frozen=True)
class InnerStep:
    """One step of stochastic gradient descent, as torch.optim.SGD makes it.

    With g the gradient: velocity' = momentum * velocity + g + weight_decay * theta, and
    theta' = theta - learning_rate * velocity'. The velocity before the step is a constant for the
    hypergradient, so that d theta'/d g = -learning_rate with or without momentum. Raises
    ValueError for a learning rate not above 0, a momentum outside [0, 1) or a decay below 0.
    """

    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate is {self.learning_rate}, but must be above 0")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is {self.momentum}, but must be from 0 to below 1")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay is {self.weight_decay}, but must be at least 0")

    def velocity(self, parameter: Tensor, gradient: Tensor, before: Tensor | None) -> Tensor:
        """velocity', from the parameter before the step; the gradient itself where that is it."""
        velocity = gradient
        if self.weight_decay > 0:
            velocity = torch.add(velocity, parameter, alpha=self.weight_decay)
        if before is not None and self.momentum > 0:
            velocity = torch.add(velocity, before, alpha=self.momentum)
        return velocity


@dataclass(frozen=True)
class Lookahead:
    """The network after one training step, not yet in the network itself.

    `buffers` are those after the training passes of the step: batch-norm statistics moved exactly
    as an ordinary step moves them. Validation passes work on copies that are thrown away.
    """

    loss: float
    parameters: Mapping[str, Tensor]
    velocity: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]

    @torch.no_grad()
    def commit(self, network: nn.Module) -> None:
        """Write the step into the network."""
        own = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        for name, value in (*self.parameters.items(), *self.buffers.items()):
            own[name].copy_(value)


@dataclass(frozen=True)
class TrainingGradient:
    """The gradient of the training loss on this worker.

    `differentiable` is the part that still depends on the images, `buffers` what the passes left
    and `statistics` what the images added to running statistics among them (see `running`).
    """

    loss: Tensor
    gradients: dict[str, Tensor]
    differentiable: dict[str, Tensor]
    buffers: dict[str, Tensor]
    statistics: dict[str, Tensor]


def bound(
    network: nn.Module, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]
) -> Network:
    """The network as a function of its input alone; passes in train mode move `buffers`."""
    state = {**parameters, **buffers}

    def call(*inputs: Any, **options: Any) -> Any:
        return functional_call(network, state, inputs, options)

    return call


def ensure_finite(value: float, name: str) -> None:
    """Raise Diverged for a number that is not finite."""
    if not math.isfinite(value):
        raise Diverged(f"the {name} is {value}: lower the learning rate")


def training_gradient(
    network: nn.Module, losses: Losses, images: Any, twice: bool = False
) -> TrainingGradient:
    """The training gradient at the network's own state; `twice` keeps it differentiable.

    Raises ValueError where nothing trains or a parameter has no path to the loss.
    """
    theta = {
        name: parameter.detach().requires_grad_()
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }
    if not theta:
        raise ValueError("the network has no parameter that requires a gradient: unfreeze some")
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    call, leaves = bound(network, theta, buffers), list(theta.values())
    parts = []
    fixed = None
    if losses.fixed is not None:
        # First, so that its graph is gone before the one that is kept is built.
        fixed = losses.fixed(call)
        parts.append(torch.autograd.grad(fixed, leaves, allow_unused=True))
        fixed = fixed.detach()
    statistics: dict[str, Tensor] = {}
    with contextlib.ExitStack() as stack:
        if twice:
            stack.enter_context(differentiated_in_images())
            statistics = stack.enter_context(recorded(network))
        tuned = losses.tuned(call, images)
    kept = torch.autograd.grad(tuned, leaves, create_graph=twice, allow_unused=True)
    parts.append(kept)
    gradients: dict[str, Tensor] = {}
    for name, own in zip(theta, zip(*parts, strict=True), strict=True):
        reached = [gradient.detach() for gradient in own if gradient is not None]
        if not reached:
            raise ValueError(
                f"the network's parameter {name} has no path to the training loss: freeze it with"
                " requires_grad_(False), or use it in the loss"
            )
        # Not in place: autograd may give two parameters one and the same gradient.
        gradients[name] = reached[0] if len(reached) == 1 else reached[0] + reached[1]
    differentiable = {
        name: gradient
        for name, gradient in zip(theta, kept, strict=True)
        if gradient is not None and gradient.requires_grad
    }
    loss = tuned.detach() if fixed is None else tuned.detach() + fixed
    return TrainingGradient(loss, gradients, differentiable, buffers, statistics)


@torch.no_grad()
def advance(
    network: nn.Module,
    training: TrainingGradient,
    inner: InnerStep,
    velocity: Mapping[str, Tensor] | None,
    context: Context,
) -> Lookahead:
    """The step along the workers' mean gradient; every worker ends with the same state.

    Raises Diverged where the loss or the gradient is not finite.
    """
    theta = dict(network.named_parameters())
    before = dict(network.named_buffers())
    gradients, buffers = training.gradients, dict(training.buffers)
    moving = [name for name, buffer in buffers.items() if buffer.is_floating_point()]
    # Of a buffer the change is averaged: what does not change stays equal to the last bit.
    changes = [buffers[name] - before[name] for name in moving] if context.world_size > 1 else []
    means = mean_over_workers([training.loss, *gradients.values(), *changes], context)
    loss, means = means[0], means[1:]
    after, velocities = {}, {}
    for name, gradient in zip(gradients, means[: len(gradients)], strict=True):
        old = None if velocity is None else velocity[name]
        velocities[name] = inner.velocity(theta[name], gradient, old)
        after[name] = torch.add(theta[name], velocities[name], alpha=-inner.learning_rate)
    # One wait for the device says all.
    total = torch.stack([value.sum() for value in after.values()]).sum()
    loss_now, sum_after = torch.stack([loss.double(), total.double()]).tolist()
    ensure_finite(loss_now, "training loss")
    ensure_finite(sum_after, "training gradient")
    if changes:
        for name, change in zip(moving, means[len(gradients) :], strict=True):
            buffers[name] = before[name] + change
    return Lookahead(loss_now, after, velocities, buffers)


def training_step(
    network: nn.Module,
    augmented: Tensor,
    losses: Losses,
    inner: InnerStep,
    *,
    velocity: Mapping[str, Tensor] | None = None,
    context: Context | None = None,
) -> Lookahead:
    """One ordinary training step with the augmented images, averaged over the workers.

    The same step that `hypergradient` looks ahead to. Raises Diverged and ValueError as it does.
    """
    training = training_gradient(network, losses, augmented.detach())
    return advance(network, training, inner, velocity, context or Context())
