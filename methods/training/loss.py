"""The training loss of projecting autoencoders."""

from __future__ import annotations

from torch import Tensor


def filtering_loss(output: Tensor, target: Tensor, mask: Tensor, mask_weight: float) -> Tensor:
    """Bauer et al., PAE, Eq. 1, one value an image `[B]`.

    `(1 - w) / |1 - M| * ||(1 - M)(f - x)||^2 + w / |M| * ||M (f - x)||^2` with the mask M
    `[B, 1, H, W]` in [0, 1] spread over the three channels: it enters the numerators squared and
    the L1 norms once. Norms below 1 are taken as 1, so that an image without (or covered by) a
    mask has a finite loss whose empty term is 0.
    """
    squared = (output - target).square().sum(dim=1, keepdim=True)
    rest = 1.0 - mask
    channels = output.shape[1]
    terms = [
        (part.square() * squared).flatten(1).sum(dim=1)
        / (channels * part.flatten(1).sum(dim=1)).clamp(min=1.0)
        for part in (rest, mask)
    ]
    return (1.0 - mask_weight) * terms[0] + mask_weight * terms[1]
