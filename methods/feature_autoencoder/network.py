"""The autoencoder on a grid of features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GridAutoencoder(nn.Module):
    """Convolutions down to a narrow, coarse code and up again, without shortcuts.

    Takes and returns standardised features `[B, C, h, w]`; any grid of `smallest(depth)` cells a
    side or more. `depth` halvings of the grid lead to the code of `bottleneck` channels. Features
    are enlarged after the convolutions of a scale: a quarter of the cost of doing so before.
    """

    def __init__(self, channels: int, width: int, bottleneck: int, depth: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.enter = nn.Conv2d(channels, width, 1)
            self.down = nn.ModuleList(_block(width, 2) for _ in range(depth))
            self.code = nn.Conv2d(width, bottleneck, 1)
            self.decode = nn.Conv2d(bottleneck, width, 1)
            self.up = nn.ModuleList(_block(width, 1) for _ in range(max(1, depth)))
            self.leave = nn.Conv2d(width, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.with_features(features)[0]

    def with_features(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The output, and the code `[B, bottleneck, h', w']`."""
        x = F.gelu(self.enter(features))
        sizes = []
        for block in self.down:
            sizes.append([int(n) for n in x.shape[-2:]])
            x = block(x)
        code = self.code(x)
        x = F.gelu(self.decode(code))
        for block in self.up:
            x = block(x)
            if sizes:
                x = F.interpolate(x, sizes.pop(), mode="bilinear", align_corners=False)
        return self.leave(x), code


def smallest(depth: int) -> int:
    """The fewest cells a side for which a code is no single cell."""
    return 2 * 2**depth


def _block(width: int, stride: int) -> nn.Sequential:
    groups = next(g for g in (8, 4, 2, 1) if width % g == 0)
    return nn.Sequential(
        nn.Conv2d(width, width, 3, stride, 1), nn.GroupNorm(groups, width), nn.GELU()
    )
