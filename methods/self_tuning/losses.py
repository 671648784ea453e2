"""The two losses of a tuning step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.contract import Context
from methods.criteria.alignment import Alignment
from methods.hypergradient.inner_step import Losses, Network
from methods.hypergradient.workers import join

_NORMAL, _AUGMENTED = 0, 1


def classification(network: Network, normal: Tensor, augmented: Tensor) -> Tensor:
    """Mean cross-entropy of both sets in one pass, and so with batch statistics in common."""
    labels = torch.full((len(normal) + len(augmented),), _AUGMENTED, device=normal.device)
    labels[: len(normal)] = _NORMAL
    return functional.cross_entropy(network(torch.cat((normal, augmented))).logits, labels)


def one_class(network: Network, images: Tensor, label: int) -> Tensor:
    """Half of the cross-entropy of one set: with the other set's half, their mean."""
    labels = torch.full((len(images),), label, device=images.device)
    return functional.cross_entropy(network(images).logits, labels) / 2


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within it, batch normalisation uses its running statistics, as a finished detector does."""
    before = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(before)


def step_losses(
    module: nn.Module,
    normal: Tensor,
    test: Tensor | None,
    aligned: Alignment,
    context: Context,
    *,
    batch_statistics: bool,
) -> Losses:
    """The losses of one step: binary cross-entropy of normal against augmented images, and the
    alignment with the unlabelled ones, none of which is needed for a plain step.

    With batch statistics both sets train in one batch: normalised apart, every layer would take
    away the difference of their means, which is what the head is to find. Without, they pass apart,
    which spares the normal ones their second derivatives. Embeddings are validated with running
    statistics, as they will be scored: so no set is seen by another.
    """

    def validation(network: Network, augmented: Tensor) -> Tensor:
        assert test is not None
        with evaluating(module):
            sets = [network(images).embedding for images in (normal, augmented, test)]
        train, changed, unlabelled = (join(rows, context) for rows in sets)
        return aligned(train, changed, unlabelled)

    if batch_statistics:
        return Losses(
            tuned=lambda network, augmented: classification(network, normal, augmented),
            validation=validation,
        )
    return Losses(
        tuned=lambda network, augmented: one_class(network, augmented, _AUGMENTED),
        validation=validation,
        fixed=lambda network: one_class(network, normal, _NORMAL),
    )
