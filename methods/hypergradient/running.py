"""Running statistics of batch normalisation as functions of the images that moved them.

A training pass moves them, outside of autograd, by running' = (1 - m) running + m * those of the
batch. Embeddings in evaluation mode, y = w (x - mean) / s + b with s = sqrt(variance + eps), depend
on them, and so on the augmented images that were in the batch: a path of the total derivative that
is as long as the one through the weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def _normalisations(network: nn.Module) -> dict[str, _BatchNorm]:
    """Those with running statistics, by the prefix of their parameters' names."""
    return {
        f"{name}." if name else "": module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    }


@contextlib.contextmanager
def recorded(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Within it, what passes in training mode add to running statistics, by the buffers' names and
    as functions of their input; what was in them before is left out."""
    added: dict[str, Tensor] = {}

    def hook(prefix: str, module: _BatchNorm, images: Tensor) -> None:
        if not module.training:
            return
        over = [0, *range(2, images.ndim)]
        variance, mean = torch.var_mean(images, over, correction=1)
        share: Tensor | float
        if module.momentum is None:
            assert module.num_batches_tracked is not None
            share = 1.0 / (module.num_batches_tracked + 1)
        else:
            share = module.momentum
        for name, found in (("running_mean", mean), ("running_var", variance)):
            before = added.get(prefix + name)
            moved = found * share
            added[prefix + name] = moved if before is None else moved + before * (1 - share)

    handles = [
        module.register_forward_pre_hook(
            lambda module, inputs, prefix=prefix: hook(prefix, module, inputs[0])
        )
        for prefix, module in _normalisations(network).items()
    ]
    try:
        yield added
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def evaluated(network: nn.Module) -> Iterator[set[str]]:
    """Within it, the prefixes of the normalisations that are used in evaluation mode."""
    used: set[str] = set()

    def hook(prefix: str, module: nn.Module) -> None:
        if not module.training:
            used.add(prefix)

    handles = [
        module.register_forward_pre_hook(lambda module, inputs, prefix=prefix: hook(prefix, module))
        for prefix, module in _normalisations(network).items()
    ]
    try:
        yield used
    finally:
        for handle in handles:
            handle.remove()


def statistics_adjoint(
    network: nn.Module,
    used: set[str],
    adjoint: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The derivative of a loss in the running statistics of the normalisations `used`, by buffer.

    It follows from the `adjoint` in their weights and biases, dL/dmean = -(w / s) dL/db and
    dL/dvariance = -(w / 2 s^2) dL/dw, at these `parameters` and `buffers`. Raises ValueError where
    one has no weight and bias that train.
    """
    found = {}
    for prefix, module in _normalisations(network).items():
        weight, bias = prefix + "weight", prefix + "bias"
        if prefix not in used:
            continue
        if weight not in parameters or bias not in parameters:
            raise ValueError(
                f"{prefix.rstrip('.') or 'the network'} normalises with running statistics, but has"
                " no weight and bias that train, by which the derivative in them is found: let them"
                " train, use group normalisation, or the order 'first'"
            )
        if weight not in adjoint or bias not in adjoint:
            continue
        variance = buffers[prefix + "running_var"] + module.eps
        scale = parameters[weight].detach()
        found[prefix + "running_mean"] = -scale * variance.rsqrt() * adjoint[bias]
        found[prefix + "running_var"] = -scale / (2 * variance) * adjoint[weight]
    return found
