"""Scores from a single gradient (Dehaene et al., appendix A; Zimmerer et al., 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.energy_projection.model import VARIATIONAL, EnergyModel, Kind, divergence


def check_score(score: str, kind: Kind) -> None:
    """Raise ValueError for a KL score of a deterministic model."""
    if score.startswith("kl") and kind not in VARIATIONAL:
        raise ValueError(
            f"score is {score}, but the model {kind} has no KL term; train vae or gamma-vae (by"
            " model), or choose another score"
        )


def gradient_map(model: EnergyModel, images: Tensor, score: str) -> Tensor:
    """One map `[B, H, W]` of images `[B, 3, H, W]`, mean over the channels.

    - `gradient`: `|grad L|`, L the reconstruction term plus KL where there is one;
    - `kl-gradient`: `|grad KL|`;
    - either with `-error`: times the squared reconstruction error.

    A VAE takes the mean of its code. Raises ValueError for a KL score of a deterministic model.
    """
    check_score(score, model.kind)
    with torch.inference_mode(False), torch.enable_grad():
        at = images.detach().clone().requires_grad_()
        mean, log_variance = model.network.encode(at)
        reconstruction = model.network.decode(mean)
        loss = at.new_zeros(())
        if not score.startswith("kl"):
            loss = loss + model.reconstruction_loss(at, reconstruction).sum()
        if log_variance is not None:
            loss = loss + divergence(mean, log_variance).sum()
        (gradient,) = torch.autograd.grad(loss, at)
    found = gradient.abs_()
    if score.endswith("-error"):
        found = found * (at - reconstruction).detach().square_()
    return found.mean(1)
