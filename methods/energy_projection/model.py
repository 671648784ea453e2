"""The four trainings of one autoencoder, and the losses that become energies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from methods.networks.bergmann import BergmannAutoencoder
from methods.scoring.discrepancy import ssim

Kind = Literal["l2", "dssim", "vae", "gamma-vae"]
KINDS: tuple[Kind, ...] = ("l2", "dssim", "vae", "gamma-vae")
VARIATIONAL = frozenset({"vae", "gamma-vae"})
LOG_GAMMA_FLOOR = -6.0


def squares(images: Tensor, reconstruction: Tensor) -> Tensor:
    """Squared distance of each image, summed over pixels and channels: `[B]`."""
    return (images - reconstruction).square().flatten(1).sum(1)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1) by coordinate, `[B, code]`.

    Never negative: the sum over a row is the KL term of Eq. 1 of Dehaene et al.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance)


@dataclass(frozen=True)
class Sample:
    """A reconstruction `[B, 3, H, W]` and the code's mean and log variance `[B, code]`."""

    output: Tensor
    mean: Tensor
    log_variance: Tensor | None


class EnergyModel(nn.Module):
    """An autoencoder with the loss that it is trained by.

    Losses are sums over pixels, one value an image. With r the reconstruction and D the number of
    values of an image:

    - `l2`: `||x - r||^2`;
    - `dssim`: sum over pixels of `(1 - SSIM) / 2`;
    - `vae`: `||x - r||^2 / 2`, a Gaussian decoder of unit variance without its constant, plus KL;
    - `gamma-vae`: `||x - r||^2 / (2 gamma^2) + D ln gamma`, one learned gamma (Dai and Wipf,
      2019), plus KL. ln gamma is kept at -6 or above.
    """

    def __init__(self, kind: Kind, network: BergmannAutoencoder, log_gamma: float = 0.0) -> None:
        super().__init__()
        self.kind, self.network = kind, network
        self.log_gamma = nn.Parameter(torch.tensor(log_gamma), requires_grad=kind == "gamma-vae")

    @property
    def variational(self) -> bool:
        return self.network.variational

    def forward(self, images: Tensor) -> Tensor:
        """The reconstruction; for a VAE that of the mean code."""
        return cast(Tensor, self.network(images))

    def reconstruction_loss(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """The term L_r of the energy, `[B]`, without what does not depend on the images."""
        if self.kind == "dssim":
            return ssim(images, reconstruction).flatten(1).sum(1)
        total = squares(images, reconstruction)
        if self.kind == "l2":
            return total
        if self.kind == "vae":
            return 0.5 * total
        return 0.5 * total * torch.exp(-2.0 * self._log_gamma())

    def step_unit(self) -> float:
        """What a step size of 1 means on this energy, as a factor of its gradient.

        `gamma^2` for `gamma-vae`: its energy is that of `vae` but for the factor `1 / gamma^2`
        (and an anchor that much weaker), so equal step sizes take equal steps. Else 1.
        """
        return math.exp(2 * float(self._log_gamma())) if self.kind == "gamma-vae" else 1.0

    def sample(self, images: Tensor, noise: Tensor | None) -> Sample:
        """Code and reconstruct; the code of a VAE is drawn by standard normal `noise` `[B, code]`,
        or is its mean where that is None."""
        mean, log_variance = self.network.encode(images)
        mean = mean.float() if mean.dtype == torch.bfloat16 else mean
        code = mean
        if log_variance is not None:
            log_variance = log_variance.to(mean.dtype)
            if noise is not None:
                code = mean + torch.exp(0.5 * log_variance) * noise
        return Sample(self.network.decode(code).to(images.dtype), mean, log_variance)

    def training_loss(self, images: Tensor, sample: Sample) -> tuple[Tensor, Tensor]:
        """What training minimises, and the KL term in it (zeros without one): two `[B]`."""
        loss = self.reconstruction_loss(images, sample.output)
        if sample.log_variance is None:
            return loss, torch.zeros_like(loss)
        kl = divergence(sample.mean, sample.log_variance).sum(1)
        if self.kind == "gamma-vae":
            loss = loss + images[0].numel() * self._log_gamma()
        return loss + kl, kl

    def _log_gamma(self) -> Tensor:
        return self.log_gamma.clamp(min=LOG_GAMMA_FLOOR)
