"""The exact derivative of a validation loss through one training step.

A training step makes theta' = theta - alpha * dL_trn/dtheta of the network's parameters theta, and
the tuned parameters a enter both L_trn and the validation loss L_val through augmented images
x(a). By the chain rule, what ST-SSAD descends (Yoo et al., Eq. 5) is

    dL_val/da = (dx/da)' [ dL_val/dx - alpha * d/dx <dL_trn/dtheta, v> ],   v = dL_val/dtheta'

and, where L_val normalises with running statistics r that the step moved, d/dx <r, dL_val/dr> more
in the brackets (see `running`). It is found in two passes: the first ends with v, the second
differentiates the inner product of v with the training gradient. The second term alone needs second
derivatives; the first order leaves it and r out (Eq. 4). Two passes give the same number as one
graph through both losses, but v is in hand (it can be averaged over workers), the validation pass
is freed before the second derivatives are taken, and the part of the training loss that does not
see x is never differentiated twice. x may be several tensors, and what a frozen network made of
images: that network is differentiated once, on the way back from x to a.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from methods.contract import Context
from methods.hypergradient.inner_step import (
    InnerStep,
    Lookahead,
    Losses,
    advance,
    bound,
    ensure_finite,
    training_gradient,
)
from methods.hypergradient.running import evaluated, statistics_adjoint
from methods.hypergradient.workers import mean_over_workers

Tuned = TypeVar("Tuned", Tensor, Mapping[str, Tensor])
Order = Literal["exact", "first"]
# A gradient for each augmented tensor; None where there is no path to it.
Adjoint = list[Tensor | None]

_VECTOR = "the tuned parameters"


class VanishedGradient(RuntimeError):
    """A hypergradient that is exactly zero: nothing can be learned from here."""


@dataclass(frozen=True)
class Hypergradient:
    """`gradient` in the form of the tuned parameters; `first_order` is its part at constant theta'.

    `cosine` between the two says what the second derivatives buy: near 1, little. It is NaN where
    the first-order part is zero and None where only the first order was asked for.
    `validation_loss` is taken after the step, `step.loss` before it.
    """

    gradient: Tensor | Mapping[str, Tensor]
    first_order: Tensor | Mapping[str, Tensor]
    cosine: float | None
    validation_loss: float
    step: Lookahead


def hypergradient(
    network: nn.Module,
    parameters: Tuned,
    augment: Callable[[Tuned], Tensor | tuple[Tensor, ...]],
    losses: Losses,
    inner: InnerStep,
    *,
    velocity: Mapping[str, Tensor] | None = None,
    order: Order = "exact",
    context: Context | None = None,
) -> Hypergradient:
    """The total derivative of the validation loss in `parameters` through one training step.

    `augment(parameters)` gives the augmented images, or several tensors that the losses get as a
    tuple, and must replay the same draw; it is called once, so that both losses see the same. The
    network stays as it is until `step.commit(network)`: neither its parameters, gradients nor
    buffers are touched. Frozen parameters (`requires_grad` False) take no part. The mode (train or
    eval) is the network's own; in train mode, batch norm uses the statistics of each call, and its
    running statistics after the training passes are in `step.buffers`. Let the losses run in
    float32: with bfloat16 they work, but the result is mostly rounding.

    With several workers in `context`, each passes its own share of the batch, and losses,
    gradients, v and the hypergradient are averaged over them; changes of buffers too. The result is
    that of one worker with the joined batch where the training loss is a mean over images, the
    validation loss takes its rows through `join`, and no layer has batch statistics.

    Raises Diverged where a loss or gradient is not finite, VanishedGradient where the result is
    exactly zero, and ValueError for an unknown order, or where a parameter, tuned or of the
    network, has no path to the loss that should move it. ST-SSAD, Eq. 4 and 5.
    """
    if order not in ("exact", "first"):
        raise ValueError(f"order is {order!r}, but must be one of: exact, first")
    context = context or Context()
    exact = order == "exact"
    leaves = _leaves(parameters, context.device)
    augmented = augment(cast(Tuned, leaves[_VECTOR] if isinstance(parameters, Tensor) else leaves))
    made = _parts(augmented)
    images = _like(augmented, [part.detach().requires_grad_() for part in made])
    # Without second derivatives the pass need not remember where its images came from.
    seen = images if exact else _like(augmented, [part.detach() for part in made])
    training = training_gradient(network, losses, seen, exact)
    step = advance(network, training, inner, velocity, context)
    outputs = {**training.differentiable, **training.statistics}
    del training
    with evaluated(network) as used:
        loss, adjoint, direct = _validation_gradient(network, step, losses, images, context)
    mixed: Adjoint = [None] * len(made)
    if exact:
        rate = -inner.learning_rate
        moved = statistics_adjoint(network, used, adjoint, step.parameters, step.buffers)
        weights = {**adjoint, **{name: value / rate for name, value in moved.items()}}
        found = _mixed(outputs, weights, _parts(images))
        mixed = [None if part is None else rate * part for part in found]
    elif not _any(direct):
        raise ValueError(
            "the validation loss does not see the augmented images, so that there is no"
            " first-order gradient; use order 'exact'"
        )
    parts = [_pull_back(made, leaves, direct), _pull_back(made, leaves, mixed)]
    first, second = mean_over_workers(parts, context)
    total = first + second
    # One wait for the device says all.
    loss_now, *numbers = torch.cat([loss.double().view(1), first.double(), total.double()]).tolist()
    of_first, of_total = numbers[: len(first)], numbers[len(first) :]
    ensure_finite(loss_now, "validation loss")
    ensure_finite(sum(of_total), "hypergradient")
    if not any(of_total):
        raise VanishedGradient(
            "the hypergradient is exactly zero: the augmentation changes nothing that the losses"
            " see (constant or saturated images, an amplitude of zero); start from other values"
        )
    return Hypergradient(
        gradient=_unflat(parameters, of_total),
        first_order=_unflat(parameters, of_first),
        cosine=_cosine(of_first, of_total) if exact else None,
        validation_loss=loss_now,
        step=step,
    )


def _parts(images: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (images,) if isinstance(images, Tensor) else images


def _like(images: Tensor | tuple[Tensor, ...], parts: Sequence[Tensor]) -> Any:
    """The parts in the form in which the augmentation gave them."""
    return parts[0] if isinstance(images, Tensor) else tuple(parts)


def _any(adjoint: Adjoint) -> bool:
    return any(part is not None for part in adjoint)


def _leaves(parameters: Tensor | Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Copies on the device to differentiate in; from the CPU, they are not waited for."""
    named = {_VECTOR: parameters} if isinstance(parameters, Tensor) else parameters
    return {
        name: value.detach().to(device, non_blocking=True, copy=True).requires_grad_()
        for name, value in named.items()
    }


def _unflat(
    parameters: Tensor | Mapping[str, Tensor], numbers: Sequence[float]
) -> Tensor | Mapping[str, Tensor]:
    """Numbers in the form of the parameters, and where they are."""
    flat = torch.tensor(numbers, dtype=torch.float64)
    if isinstance(parameters, Tensor):
        return flat.view_as(parameters).to(parameters)
    parts = flat.split([value.numel() for value in parameters.values()])
    return {
        name: part.view_as(value).to(value)
        for (name, value), part in zip(parameters.items(), parts, strict=True)
    }


def _validation_gradient(
    network: nn.Module, step: Lookahead, losses: Losses, images: Any, context: Context
) -> tuple[Tensor, dict[str, Tensor], Adjoint]:
    """The validation loss after the step, v, and this worker's gradient in the images."""
    theta = {name: value.detach().requires_grad_() for name, value in step.parameters.items()}
    buffers = {name: buffer.clone() for name, buffer in step.buffers.items()}
    loss = losses.validation(bound(network, theta, buffers), images)
    found: Sequence[Tensor | None] = torch.autograd.grad(
        loss, [*theta.values(), *_parts(images)], allow_unused=True
    )
    gradients, direct = found[: len(theta)], [*found[len(theta) :]]
    # Not every parameter need be seen: the classifier behind the embedding is not.
    seen = [name for name, g in zip(theta, gradients, strict=True) if g is not None]
    if not seen:
        raise ValueError(
            "the validation loss does not depend on the network: compute it with the network that"
            " it is given"
        )
    own = [loss.detach(), *(gradient for gradient in gradients if gradient is not None)]
    mean, *adjoint = mean_over_workers(own, context)
    return mean, dict(zip(seen, adjoint, strict=True)), direct


def _mixed(
    outputs: dict[str, Tensor], adjoint: dict[str, Tensor], images: Sequence[Tensor]
) -> Adjoint:
    """d/dx <outputs, adjoint>, in the form of the images: of the training gradient and v, and of
    running statistics and what the validation loss makes of them."""
    shared = [name for name in outputs if name in adjoint and outputs[name].requires_grad]
    product: Adjoint = []
    if shared:
        product += torch.autograd.grad(
            [outputs[name] for name in shared],
            list(images),
            [adjoint[name] for name in shared],
            allow_unused=True,
        )
    if not _any(product):
        raise ValueError(
            "the tuned training loss has no path from the augmented images to a parameter that the"
            " validation loss sees: compute it from the images that it is given, or make it `fixed`"
        )
    return product


def _pull_back(augmented: Sequence[Tensor], leaves: dict[str, Tensor], adjoint: Adjoint) -> Tensor:
    """From the images back to the tuned parameters, in one flat vector; no adjoint gives zeros."""
    if not _any(adjoint):
        return torch.cat([torch.zeros_like(leaf).reshape(-1) for leaf in leaves.values()])
    gradients: Sequence[Tensor | None] = [None] * len(leaves)
    attached = [
        (part, torch.zeros_like(part) if weight is None else weight)
        for part, weight in zip(augmented, adjoint, strict=True)
        if part.requires_grad
    ]
    if attached:
        parts, weights = zip(*attached, strict=True)
        gradients = torch.autograd.grad(
            parts, list(leaves.values()), weights, retain_graph=True, allow_unused=True
        )
    missing = [name for name, g in zip(leaves, gradients, strict=True) if g is None]
    if missing:
        raise ValueError(
            f"the augmented images do not depend on {', '.join(missing)}: there is no gradient to"
            " learn from; use a differentiable augmentation and leave its parameters attached"
        )
    return torch.cat([gradient.reshape(-1) for gradient in gradients if gradient is not None])


def _cosine(first: Sequence[float], total: Sequence[float]) -> float:
    lengths = math.hypot(*first) * math.hypot(*total)
    product = sum(one * other for one, other in zip(first, total, strict=True))
    return product / lengths if lengths > 0 else math.nan
