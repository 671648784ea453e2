"""The embedding of a filtering autoencoder.

Criteria such as ST-SSAD's validation loss compare clean, corrupted and test images in the
detector's embedding space and ask whether corrupted training images lie where anomalies lie. A
class token or a pooled code alone serves an autoencoder badly: the bottleneck knows *what* is
seen but a small defect barely moves its mean, and the residual x - f(x) knows *that* something
was removed but not what. So both are joined.

- Bottleneck block: the mean over places of the bottleneck features.
- Residual block: the residual averaged over 1, 2 and 4 pixels; of its absolute value the mean and
  the mean of the largest hundredth, per channel. Small scales see thin defects, large ones faint
  stains. Their logarithm is taken, so that a gross opaque corruption and a faint true defect,
  whose residuals differ tenfold, move in the same direction by comparable lengths.

Each block is centred on the mean of clean training images and divided by their root mean squared
distance from it. That is one number a block: directions within a block keep their meaning, and
neither block drowns the other for having more or larger entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_SCALES = (1, 2, 4)
_TOP = 0.01
_SMALLEST = 1e-3  # a quarter of a grey level of 256


def blocks(features: Tensor, images: Tensor, reconstruction: Tensor) -> tuple[Tensor, Tensor]:
    """Bottleneck block `[B, F]` and residual block `[B, 18]`, not standardised."""
    residual = images - reconstruction
    parts = []
    for scale in _SCALES:
        size = F.avg_pool2d(residual, scale).abs().flatten(2)
        top = max(1, round(_TOP * size.shape[2]))
        parts += [size.mean(dim=2), size.topk(top, dim=2).values.mean(dim=2)]
    return features.to(images.dtype).mean(dim=(2, 3)), (torch.cat(parts, dim=1) + _SMALLEST).log()


@dataclass(frozen=True)
class Standardiser:
    """Puts each block at unit scale: `centre` `[D]` and `scale` `[D]` of clean training images."""

    centre: Tensor
    scale: Tensor

    @classmethod
    def measured(cls, *parts: Tensor) -> Standardiser:
        """From the blocks `[N, D_i]` of clean training images."""
        centres = [part.mean(dim=0) for part in parts]
        scales = [
            (part - centre).square().sum(dim=1).mean().sqrt().clamp(min=1e-6).expand(part.shape[1])
            for part, centre in zip(parts, centres, strict=True)
        ]
        return cls(torch.cat(centres), torch.cat(scales))

    def __call__(self, *parts: Tensor) -> Tensor:
        return (torch.cat(parts, dim=1) - self.centre) / self.scale

    def tensors(self) -> dict[str, Tensor]:
        """What `from_tensors` needs."""
        return {"centre": self.centre, "scale": self.scale}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Standardiser | None:
        """The one that these tensors hold, if they hold one."""
        return cls(tensors["centre"], tensors["scale"]) if tensors else None
