"""The two losses of a tuning step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from methods.contract import Context
from methods.criteria import alignment
from methods.self_tuning.inner_step import Losses, Network
from methods.self_tuning.workers import join

_NORMAL, _AUGMENTED = 0, 1


def align(kind: str, train: Tensor, augmented: Tensor, test: Tensor) -> Tensor:
    """The loss that the augmentation descends, of embeddings `[., D]`: ST-SSAD, Eq. 3, or one of
    the paper's ablations."""
    if kind == "validation_loss":
        return alignment.validation_loss(train, augmented, test)
    return alignment.mmd(train, augmented, test, normalise=kind == "mmd")


def classification(network: Network, images: Tensor, label: int) -> Tensor:
    """Half of the cross-entropy of one class: with the other class's half, their mean."""
    labels = torch.full((len(images),), label, device=images.device)
    return functional.cross_entropy(network(images).logits, labels) / 2


def step_losses(normal: Tensor, test: Tensor | None, kind: str, context: Context) -> Losses:
    """The losses of one step: binary cross-entropy of normal against augmented images, and the
    alignment with the unlabelled ones, none of which is needed for a plain step.

    Each set passes the network by itself, so that no batch statistic is shared: within one batch
    the unlabelled images would be seen by the training embeddings, and the sets could be told
    apart by statistics alone.
    """

    def validation(network: Network, augmented: Tensor) -> Tensor:
        assert test is not None
        sets = [network(images).embedding for images in (normal, augmented, test)]
        train, changed, unlabelled = (join(rows, context) for rows in sets)
        return align(kind, train, changed, unlabelled)

    return Losses(
        tuned=lambda network, augmented: classification(network, augmented, _AUGMENTED),
        validation=validation,
        fixed=lambda network: classification(network, normal, _NORMAL),
    )
