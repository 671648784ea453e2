"""What data-parallel workers tell each other during a tuning step."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from methods.contract import Context


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, context: Context) -> Tensor:
        ctx.world_size = context.world_size
        ctx.part = slice(context.rank * len(own), (context.rank + 1) * len(own))
        joined = own.new_zeros((context.world_size * len(own), *own.shape[1:]))
        joined[ctx.part] = own
        return context.all_reduce(joined) * context.world_size

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # The other workers' share of a second derivative would be missing without a word.
        if torch.is_grad_enabled():
            raise RuntimeError(
                "joined rows cannot be differentiated twice: use join() in the validation loss"
                " only, and make the training loss a mean over images"
            )
        # Every worker has the whole loss but only its own rows' path to the network: the sum over
        # workers is wanted, and the mean is what will be taken.
        return gradient[ctx.part] * ctx.world_size, None


def join(own: Tensor, context: Context) -> Tensor:
    """The rows `[n, ...]` of all workers, `[world_size * n, ...]`, in the order of their ranks.

    For a validation loss that couples the whole batch, as the alignment of embeddings does: each
    worker computes that loss from the joined rows, and the mean of the workers' gradients is then
    the gradient of one worker with the joined batch. Every worker needs as many rows. Not for a
    training loss, which must be a mean over images: it raises RuntimeError when differentiated
    twice.
    """
    if context.world_size == 1:
        return own
    return cast(Tensor, _Join.apply(own, context))


def mean_over_workers(tensors: list[Tensor], context: Context) -> list[Tensor]:
    """Each tensor's mean over the workers, in one message; with one worker the tensors."""
    if context.world_size == 1:
        return tensors
    flat = context.all_reduce(torch.cat([tensor.detach().reshape(-1) for tensor in tensors]))
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [
        part.view_as(tensor).to(tensor.dtype) for part, tensor in zip(parts, tensors, strict=True)
    ]
