"""What the papers claim that training controls, measured on held-out normals at each rung.

With x a held-out normal, x^ the same corrupted at a set opacity, and f the network as it scores
(clipped to [0, 1]); every length is a root mean square, so in parts of the grey range:

- `identity_residual`: |f(x) - x|, the bias on the manifold (PAE, Eq. 19);
- `idempotency_residual`: |f(f(x^)) - f(x^)| for opaque corruptions (PAE, Eq. 19);
- `contraction_P`: |f(x^) - x| / |x^ - x| at an opacity of P percent (PAE, Eq. 8: below 1);
- `jacobian_distance`: |J - I|_F / sqrt(d) at x, by random directions (FAE's regulariser).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from methods.corruption.recipe import CorruptionDraw, apply
from methods.corruption.textures import TextureBank
from methods.filtering_autoencoder.jacobian import difference_distance

OPACITIES = (0.25, 0.5, 1.0)
_MOST = 32
# An image takes 7 passes forward, the last two in float32; a training step takes 3 an image.
_PASSES, _STEP_PASSES = 9, 3
_SHARE = 0.01


def image_count(steps: int, batch: int, rungs: int, there: int) -> int:
    """How many of the `there` images may be looked at, for a hundredth of a training's passes."""
    passes = _SHARE * _STEP_PASSES * steps * batch / rungs
    return max(1, min(_MOST, there, int(passes / _PASSES)))


@torch.no_grad()
def diagnose(
    network: Callable[[Tensor], Tensor],
    project: Callable[[Tensor], Tensor],
    clean: Tensor,
    *,
    draw: CorruptionDraw,
    bank: TextureBank,
    directions: Tensor,
) -> dict[str, float]:
    """The numbers above for normals `[B, 3, H, W]` in [0, 1].

    `network` answers unclipped and in float32, `project` as the detector does; `draw` corrupts the
    images and `directions`, like them, are from N(0, I). A contraction whose corruptions change
    nothing is left out.
    """
    found = {"identity_residual": _length(project(clean) - clean)}
    for opacity in OPACITIES:
        corrupted = apply(
            clean, replace(draw, opacity=torch.full_like(draw.opacity, opacity)), bank
        )
        projected = project(corrupted[0])
        before = _length(corrupted[0] - clean)
        if before > 0:
            found[f"contraction_{round(100 * opacity)}"] = _length(projected - clean) / before
    found["idempotency_residual"] = _length(project(projected) - projected)
    distance = difference_distance(network, clean, directions).mean().sqrt()
    return {**found, "jacobian_distance": float(distance)}


def _length(change: Tensor) -> float:
    return float(change.square().mean().sqrt())
