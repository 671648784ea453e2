"""The modified U-Net with a dilated bottleneck (FAE, arXiv 2511.07233; Bauer et al., PAE)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DIVISOR = 8
DILATIONS = (1, 2, 4, 8, 16, 32)
_BLOCKS = 4


def check_size(size: tuple[int, int]) -> None:
    """Raise ValueError, with the nearest good size, where H or W is not a multiple of 8."""
    good = tuple(max(DIVISOR, round(n / DIVISOR) * DIVISOR) for n in size)
    if good != tuple(size):
        raise ValueError(
            f"the image size is {size[0]} x {size[1]}, but both sides must be multiples of "
            f"{DIVISOR}; the nearest good size is {good[0]} x {good[1]}"
        )


class DilatedBlock(nn.Module):
    """Parallel convolutions of growing dilation, joined by a 1 x 1 convolution, plus the input.

    One block sees a wide context without losing resolution, after the stacked dilated
    convolutions of Schuster et al. (CVPR 2019).
    """

    def __init__(self, channels: int, branch: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, branch, kernel, padding=d * (kernel - 1) // 2, dilation=d)
            for d in dilations
        )
        self.join = nn.Conv2d(branch * len(dilations), channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        seen = torch.cat([branch(features) for branch in self.branches], dim=1)
        return features + F.elu(self.join(F.elu(seen)))


class Convolutions(nn.Sequential):
    """Two 3 x 3 convolutions, each followed by an ELU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.ELU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.ELU(),
        )


class UNet(nn.Module):
    """Maps `[B, 3, H, W]` to the same shape, unbounded; H and W multiples of 8.

    Three levels of `width`, 2 `width` and 4 `width` channels, max-pooling between them, four
    dilated blocks at an eighth of the resolution, bilinear enlargement on the way up. `width` is
    64 in full size. `size` (H, W) of the training images decides which dilations are kept: one
    whose kernel would reach past the feature map sees padding only. `skips` False cuts the
    shortcuts, so that everything passes the bottleneck. There is no normalisation layer, because
    corrupted batches would give it other statistics than clean ones. The output is linear: the
    target of anchored noise leaves [0, 1].

    The papers publish only "modified U-Net with dilated bottleneck convolutions" and the kernel
    size (3 for textures, 5 for objects); the rest is our choice. So is the outermost shortcut: the
    network's output is a change added to the image, zero before training. The objective asks for
    the identity nearly everywhere, which a plain U-Net spends its first thousands of steps to
    learn. The initial weights follow from `seed` alone.
    """

    def __init__(
        self,
        width: int,
        kernel: int = 3,
        skips: bool = True,
        size: tuple[int, int] = (256, 256),
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_size(size)
        room = min(size) // DIVISOR
        kept = tuple(d for d in DILATIONS if d == 1 or d * (kernel - 1) // 2 < room)
        widths = (width, 2 * width, 4 * width)
        self.skips = skips
        # No random number of anybody's is used up. On the meta device none would be drawn at all,
        # but leaving it imports a second's worth of torch and sympy.
        with torch.random.fork_rng(devices=[]):
            self.down = nn.ModuleList(
                Convolutions(i, o) for i, o in zip((3, *widths), widths, strict=False)
            )
            self.bottleneck = nn.Sequential(
                *(DilatedBlock(widths[-1], width, kernel, kept) for _ in range(_BLOCKS))
            )
            self.shrink, self.up = nn.ModuleList(), nn.ModuleList()
            inputs = widths[-1]
            for outputs in reversed(widths):
                self.shrink.append(nn.Conv2d(inputs, outputs, 3, padding=1))
                self.up.append(Convolutions(2 * outputs if skips else outputs, outputs))
                inputs = outputs
            self.out = nn.Conv2d(width, 3, 1)
        self._initialise(torch.Generator().manual_seed(seed))

    def _initialise(self, generator: torch.Generator) -> None:
        """He initialisation; blocks and output start at zero, so that training starts at f = x."""
        for parameter in self.parameters():
            if parameter.ndim == 4:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
            else:
                nn.init.zeros_(parameter)
        for block in self.bottleneck:
            assert isinstance(block, DilatedBlock)
            nn.init.zeros_(block.join.weight)
        if self.skips:
            nn.init.zeros_(self.out.weight)

    def features(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Bottleneck features `[B, 4 width, H/8, W/8]` and what the shortcuts carry."""
        check_size((int(images.shape[2]), int(images.shape[3])))
        levels, seen = [], 4.0 * images - 2.0
        for level in self.down:
            seen = level(seen)
            levels.append(seen)
            seen = F.max_pool2d(seen, 2)
        return self.bottleneck(seen), levels

    def encode(self, images: Tensor) -> Tensor:
        """Bottleneck features `[B, 4 width, H/8, W/8]`."""
        return self.features(images)[0]

    def forward(self, images: Tensor) -> Tensor:
        return self.with_features(images)[0]

    def with_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The output and the bottleneck features of one pass."""
        bottleneck, levels = self.features(images)
        features = bottleneck
        for shrink, up, level in zip(self.shrink, self.up, reversed(levels), strict=True):
            features = F.interpolate(
                features, scale_factor=2.0, mode="bilinear", align_corners=False
            )
            features = F.elu(shrink(features))
            features = up(torch.cat([features, level], dim=1) if self.skips else features)
        # In the images' own format: under autocast a brightness near 1 has too few places else.
        change = self.out(features).to(images.dtype)
        return (images + change if self.skips else change + 0.5), bottleneck
