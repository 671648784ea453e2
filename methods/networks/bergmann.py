"""The convolutional autoencoder of Bergmann et al. (2018, Table 1), with an optional Gaussian code.

The paper publishes it for 128 x 128; here its last kernel covers whatever is left of an image
after the halvings, so that any side that they divide will do.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

LARGE = 256
LOG_VARIANCE_BOUND = 10.0
_DARKEST = 1 / 255
_SLOPE = 0.2


def halvings(size: tuple[int, int]) -> int:
    """4, or 5 from 256 pixels on (Bergmann et al., 2019, add one convolution there).

    Raises ValueError for a size that the network cannot take.
    """
    levels = 5 if min(size) >= LARGE else 4
    if min(size) < 1 or any(side % 2**levels for side in size):
        raise ValueError(
            f"the network gets {size[0]} x {size[1]} pixels, but both sides must be multiples of "
            f"16, or of 32 where the shorter is at least {LARGE}; prepare the data at another size"
        )
    return levels


class BergmannAutoencoder(nn.Module):
    """Encoder, code and decoder; images float `[B, 3, H, W]` in [0, 1], output in (0, 1).

    `width` is the number of channels of the first levels (32 in the paper), `code` the length of
    the code. A `variational` network encodes a mean and the logarithm of a variance. No
    normalisation layers. Same `seed`, same weights. Raises ValueError for a size that does not fit.
    """

    def __init__(
        self,
        size: tuple[int, int],
        width: int = 32,
        code: int = 100,
        variational: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        levels = halvings(size)
        last = (size[0] >> levels, size[1] >> levels)
        self.variational = variational
        # (inputs, outputs, halves); read backwards they are the decoder.
        plan = [(3, width, True), (width, width, True)]
        plan += [(width, width, True)] * (levels - 4)
        plan += [
            (width, width, False),
            (width, 2 * width, True),
            (2 * width, 2 * width, False),
            (2 * width, 4 * width, True),
            (4 * width, 2 * width, False),
            (2 * width, width, False),
        ]
        down: list[nn.Module] = []
        for inputs, outputs, halves in plan:
            kernel, stride = (4, 2) if halves else (3, 1)
            down += [nn.Conv2d(inputs, outputs, kernel, stride, 1), nn.LeakyReLU(_SLOPE)]
        up: list[nn.Module] = [nn.ConvTranspose2d(code, width, last), nn.LeakyReLU(_SLOPE)]
        for inputs, outputs, halves in reversed(plan):
            doubling = nn.ConvTranspose2d(outputs, inputs, 4, 2, 1)
            up += [doubling if halves else nn.Conv2d(outputs, inputs, 3, 1, 1)]
            up += [nn.LeakyReLU(_SLOPE)]
        self.down = nn.Sequential(*down)
        self.code = nn.Conv2d(width, 2 * code if variational else code, last)
        self.up = nn.Sequential(*up[:-1])
        _initialise(self, seed)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean `[B, code]`, and log variance `[B, code]` in [-10, 10] or None."""
        encoded = self.code(self.down(images)).flatten(1)
        if not self.variational:
            return encoded, None
        mean, log_variance = encoded.chunk(2, dim=1)
        return mean, log_variance.clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND)

    def decode(self, code: Tensor) -> Tensor:
        """`[B, 3, H, W]` in (0, 1)."""
        return torch.sigmoid(cast(Tensor, self.up(code[:, :, None, None])))

    @torch.no_grad()
    def start_at(self, colour: Tensor) -> None:
        """Let the output be around a `colour` `[3]` in [0, 1] before training."""
        last = self.up[-1]
        assert isinstance(last, nn.ConvTranspose2d) and last.bias is not None
        last.bias.copy_(colour.logit(_DARKEST))

    def forward(self, images: Tensor) -> Tensor:
        """The reconstruction: the mean of the code, decoded."""
        return self.decode(self.encode(images)[0])


def _initialise(network: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            # Each output of a transposed convolution of stride s sums over a (1 / s^2)th of it.
            taps = math.prod(module.kernel_size) / math.prod(module.stride)
            inputs = module.in_channels * (
                taps if isinstance(module, nn.ConvTranspose2d) else math.prod(module.kernel_size)
            )
            if isinstance(module, nn.ConvTranspose2d) and module.stride == (1, 1):
                inputs = module.in_channels  # from one place to a whole map
            deviation = math.sqrt(2 / ((1 + _SLOPE**2) * inputs))
            nn.init.normal_(module.weight, 0.0, deviation, generator=generator)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
