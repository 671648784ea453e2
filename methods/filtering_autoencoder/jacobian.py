"""How far the network's Jacobian is from the identity, by random directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

_STEP = 1e-3


def identity_distance(
    network: Callable[[Tensor], Tensor], images: Tensor, directions: Tensor
) -> Tensor:
    """`|(J - I) v|^2 / d` of each image `[B, ...]` with d entries: `[B]`, one tangent pass.

    `directions` v, like the images, from N(0, I): the expectation is then the squared Frobenius
    norm |J - I|_F^2 / d (Hutchinson). Differentiable in the network's parameters. Its root is the
    term that Bauer et al. add (PAE, supplement A.3); squared it is what anchored noise of variance
    s^2 adds to the loss, times s^2 (FAE, expansion).
    """
    product = cast(Tensor, torch.func.jvp(network, (images,), (directions,))[1])
    return (product.to(directions.dtype) - directions).square().flatten(1).mean(dim=1)


def difference_distance(
    network: Callable[[Tensor], Tensor], images: Tensor, directions: Tensor
) -> Tensor:
    """`identity_distance` by central differences: `[B]`, two plain passes, for looking only.

    The first tangent pass of a process takes a second to prepare, which a short trial cannot spare.
    With steps of a thousandth of the grey range a trained network's value is off by less than 1 %.
    """
    ahead, behind = (network(images + step * directions) for step in (_STEP, -_STEP))
    product = (ahead - behind) / (2 * _STEP)
    return (product - directions).square().flatten(1).mean(dim=1)
