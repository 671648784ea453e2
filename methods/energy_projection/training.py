"""What one training run of an energy model sees, minimises and leaves behind."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from methods.contract import Context, Diverged, TrialData, stream_seed, unit
from methods.energy_projection.detector import ProjectionDetector
from methods.energy_projection.model import (
    LOG_GAMMA_FLOOR,
    VARIATIONAL,
    EnergyModel,
    Kind,
    divergence,
)
from methods.energy_projection.tiles import cut, move, random_crops, tile_size
from methods.networks.bergmann import BergmannAutoencoder
from methods.scoring.normalisation import MOST_NORMALS
from methods.training.batches import choose, evenly
from methods.training.gradient import BATCH, INIT

_PLACE, _NOISE = 16, 17  # further streams of a trial's seed
_ACTIVE = 0.01  # nats
_LOSS_TILES = 1024
_PART = 64
_COLOUR_IMAGES = 256


class Trainer:
    """Model and data of one trial on its device.

    What a step sees follows from the trial's seed and the step's number. Each of several workers
    draws for the whole batch and takes its own part.
    """

    def __init__(self, data: TrialData, values: Mapping[str, Any], context: Context) -> None:
        self.values, self.context, self.data = values, context, data.to(context.device)
        self.tiles = int(values["tiles_per_side"])
        kind: Kind = values["model"]
        network = BergmannAutoencoder(
            tile_size(data.size, self.tiles),
            values["width"],
            values["code"],
            kind in VARIATIONAL,
            stream_seed(context.seed, INIT),
        )
        if kind == "dssim":
            # DSSIM hardly feels brightness, but the weights of Eq. 8 are nothing else where a
            # reconstruction is too dark or too bright as a whole.
            network.start_at(unit(self.data.train[:_COLOUR_IMAGES]).mean((0, 2, 3)))
        self.model = context.prepare(EnergyModel(kind, network, _first_log_gamma(self.data.train)))
        self.share = context.share(values["batch_size"])
        self._kl = torch.zeros((), device=context.device)

    def batch(self, step: int) -> Tensor:
        """This worker's part of a step's crops or moved images, float `[b, 3, h, w]` in [0, 1]."""
        values, context = self.values, self.context
        count = int(values["batch_size"])
        chosen = choose(len(self.data.train), count, context.generator(BATCH, step))
        generator = context.generator(_PLACE, step)
        if self.tiles > 1:
            size = tile_size(self.data.size, self.tiles)
            return unit(random_crops(self.data.train[chosen], size, generator)[self.share])
        whole = unit(self.data.train[chosen])
        return move(whole, values["rotation"], values["shift"], generator)[self.share]

    def loss(self, step: int) -> Tensor:
        """This worker's mean loss of one step."""
        images, noise = self.batch(step), None
        if self.model.variational:
            shape = (int(self.values["batch_size"]), int(self.values["code"]))
            draws = self.context.generator(_NOISE, step)
            noise = torch.randn(shape, generator=draws, device=draws.device)[self.share]
        if self.context.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with self.context.autocast():
            sample = self.model.sample(images, noise)
        loss, kl = self.model.training_loss(images, sample)
        self._kl = kl.detach().mean()
        return loss.mean()

    def detector(self) -> ProjectionDetector:
        """A snapshot that further training does not touch.

        Raises `Diverged` where a learned decoder variance has collapsed.
        """
        log_gamma = float(self.model.log_gamma.detach())
        if self.model.kind == "gamma-vae" and log_gamma <= LOG_GAMMA_FLOOR:
            raise Diverged(
                f"the learned decoder variance has collapsed: ln gamma is {log_gamma:.2f}, its "
                f"floor {LOG_GAMMA_FLOOR:g}; the training images may be all alike, else a smaller "
                "learning_rate or fewer steps may help"
            )
        model = copy.deepcopy(self.model).eval().requires_grad_(False)
        normals = evenly(self.data.held_out, MOST_NORMALS)
        losses = self._losses(model)
        return ProjectionDetector(model, self.data.size, self.tiles, losses, normals)

    def diagnostics(self, detector: ProjectionDetector) -> dict[str, float]:
        """KL term of the last batch, gamma, and how many numbers of the code carry anything."""
        if not self.model.variational:
            return {}
        found = {"kl": float(self._kl), "active_code": float(self._active())}
        if self.model.kind == "gamma-vae":
            found["gamma"] = math.exp(float(self.model.log_gamma.detach()))
        return found

    @torch.no_grad()
    def _losses(self, model: EnergyModel) -> Tensor:
        """Reconstruction losses of the training tiles, or of evenly chosen 1024 of them."""
        count = len(self.data.train) * self.tiles**2
        chosen = torch.linspace(0, count - 1, min(count, _LOSS_TILES)).round().long()
        found = []
        for part in chosen.split(_PART):
            images = part // self.tiles**2
            distinct, inverse = images.unique(return_inverse=True)
            tiles = cut(unit(self.data.train[distinct.to(self.data.train.device)]), self.tiles)
            rows = (inverse * self.tiles**2 + part % self.tiles**2).to(tiles.device)
            found.append(model.reconstruction_loss(tiles[rows], model(tiles[rows])))
        losses = torch.cat(found)
        if not bool(losses.isfinite().all()):
            raise Diverged(
                "a training image has a reconstruction loss that is not finite; a smaller "
                "learning_rate may help"
            )
        return losses

    @torch.no_grad()
    def _active(self) -> int:
        """Numbers of the code with a KL term above 0.01 on average over some training tiles."""
        tiles = cut(unit(self.data.train[:_PART]), self.tiles)[:_PART]
        mean, log_variance = self.model.network.encode(tiles)
        assert log_variance is not None
        return int((divergence(mean, log_variance).mean(0) > _ACTIVE).sum())


def _first_log_gamma(train: Tensor) -> float:
    """Where a decoder that knows the mean alone would put gamma: the images' own spread."""
    spread = (
        float(unit(train[:_COLOUR_IMAGES]).std(0).square().mean().sqrt()) if len(train) > 1 else 1.0
    )
    return math.log(max(spread, math.exp(LOG_GAMMA_FLOOR + 1)))
