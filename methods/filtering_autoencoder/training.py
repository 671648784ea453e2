"""One training run of a filtering autoencoder, a step at a time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from methods.augmentation.cutdiff import CUTDIFF_SIGNED
from methods.contract import Context, Diverged, TrialData, stream_seed, unit
from methods.corruption.noise import draw_noise
from methods.corruption.recipe import CorruptionRecipe, apply
from methods.corruption.textures import TextureBank, TextureSources
from methods.filtering_autoencoder.augmentation import augment
from methods.filtering_autoencoder.detector import FilteringDetector
from methods.filtering_autoencoder.diagnostics import diagnose, image_count
from methods.filtering_autoencoder.jacobian import identity_distance
from methods.filtering_autoencoder.normalisation import Normaliser, normalised
from methods.filtering_autoencoder.projection import Projection
from methods.hypergradient.corruption import CorruptionTuning, TuningBatch
from methods.hypergradient.variant import tunes
from methods.networks.unet import UNet
from methods.scoring.normalisation import MOST_NORMALS
from methods.state import on_cpu
from methods.training.batches import choose, evenly
from methods.training.embedding import blocks
from methods.training.loss import filtering_loss
from methods.training.schedule import CHECKS, Plateau, cosine, warm_up

# streams of a trial's seed: changing one hyperparameter leaves the other draws as they were
_INIT, _BATCH, _AUGMENT, _CORRUPT, _NOISE, _BANK, _VALIDATE = range(7)
_DIRECTION, _DIAGNOSE, _TUNE = range(7, 10)
_BANK_STEPS = 256  # steps for which one bank of texture tiles serves
_VALIDATION = 32  # held-out images behind the plateau schedule, at most
_SCALE_IMAGES = 64  # training images behind the embedding's scale, at most


class Pixels:
    """The network's inputs are the images themselves; see `CorruptionSpace`."""

    def enter(self, images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return images, mask

    def blocks(self, inputs: Tensor, output: Tensor, code: Tensor) -> tuple[Tensor, ...]:
        """As the detector embeds, which clips what it reconstructs."""
        return blocks(code, inputs, output.clamp(0.0, 1.0))


class Training:
    """Network, optimiser and data of one trial on its device.

    What step t sees follows from the trial's seed and t alone: a training that goes on from a
    state equals one that was never interrupted, and each rank of several draws for the whole
    batch and takes its own part.
    """

    def __init__(self, data: TrialData, values: Mapping[str, Any], context: Context) -> None:
        self.values, self.context = values, context
        self.normaliser = Normaliser.measured(values["normalisation"], data.train)
        self.data = normalised(data, self.normaliser).to(context.device)
        # The detector brings them to the usual light itself.
        self._normals = evenly(data.held_out, MOST_NORMALS)
        self.recipe = CorruptionRecipe.from_values(values)
        # What a training is judged by does not move with a tuned recipe.
        self._first_recipe = self.recipe
        self.sources = TextureSources(self.data.train, self.data.textures)
        self.share = context.share(values["batch_size"])
        network = UNet(
            values["width"],
            values["kernel"],
            values["skips"],
            data.size,
            seed=stream_seed(context.seed, _INIT),
        )
        self.network = context.prepare(network)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=values["learning_rate"], foreach=True
        )
        self.plateau = Plateau()
        self.step_number = 0
        self.tuning: CorruptionTuning | None = None
        if tunes(values):
            self.tuning = CorruptionTuning(Pixels(), self.recipe, values, data.size, context)
        self._bank: tuple[int, TextureBank] | None = None
        self._diagnosed: TextureBank | None = None
        self._validation: tuple[Tensor, Tensor, Tensor] | None = None
        if context.resume is not None:
            self._resume(context.resume)

    def step(self) -> Tensor:
        """Train on the next batch; this rank's mean loss, detached, still on the device."""
        values, step = self.values, self.step_number
        if values["schedule"] == "plateau" and step % max(1, values["steps"] // CHECKS) == 0:
            self.plateau.look(self._validation_loss())
        if self.tuning is not None and self.tuning.due(step):
            self._tune(self.tuning)
        rate = values["learning_rate"] * self._rate(step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        images, target, mask = self.batch(step)
        self.optimiser.zero_grad(set_to_none=True)
        loss = self._loss(images, target, mask).mean()
        if values["jacobian_weight"] > 0:
            loss = loss + values["jacobian_weight"] * self._jacobian_distance(images)
        loss.backward()
        self.context.average_gradients(self.network.parameters())
        self.optimiser.step()
        self.step_number += 1
        return loss.detach()

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Input, target and mask of this rank's part of the batch of one step."""
        values, context, share = self.values, self.context, self.share
        size, batch = self.data.size, int(values["batch_size"])
        index = torch.randint(
            len(self.data.train),
            (batch,),
            generator=context.generator(_BATCH, step),
            device=context.device,
        )
        chosen = augment(
            self.data.train[index], values["augmentation"], context.generator(_AUGMENT, step)
        )
        clean = unit(chosen[share])
        draw = self.recipe.draw(
            batch, size, context.generator(_CORRUPT, step), self.sources.has_pool
        )
        images, mask = apply(clean, draw[share], self.bank(step))
        on_input, on_target = self._noise(context.generator(_NOISE, step))
        return images.add_(on_input), clean + on_target, mask

    def bank(self, step: int) -> TextureBank:
        """The texture tiles of a step; renewed now and then, the same after a resume."""
        number = step // _BANK_STEPS
        if self._bank is None or self._bank[0] != number:
            self._bank = (number, self.sources.bank(self.context.generator(_BANK, number)))
        return self._bank[1]

    def detector(self) -> FilteringDetector:
        """A snapshot that further training does not touch."""
        detector = FilteringDetector(
            copy.deepcopy(self.network),
            self.data.size,
            self.context.precision,
            normaliser=self.normaliser,
            normals=self._normals,
        )
        count = min(_SCALE_IMAGES, len(self.data.train))
        chosen = torch.linspace(0, len(self.data.train) - 1, count).long()
        if not detector.standardise(unit(self.data.train[chosen.to(self.context.device)])):
            raise Diverged(
                f"the network's answers are not finite after step {self.step_number}; a smaller"
                " learning_rate may help"
            )
        detector.measure([Projection()])
        return detector

    def diagnostics(self, detector: FilteringDetector) -> dict[str, float]:
        """What `methods.filtering_autoencoder.diagnostics` measures, on the same images and draws
        at every rung."""
        values, size = self.values, self.data.size
        count = image_count(
            values["steps"], values["batch_size"], self.context.rungs, len(self.data.held_out)
        )
        clean = unit(self.data.held_out[:count])
        generator = self.context.generator(_DIAGNOSE)
        draw = self._first_recipe.draw(count, size, generator, self.sources.has_pool)
        directions = torch.randn(clean.shape, generator=generator, device=clean.device)
        if self._diagnosed is None:
            self._diagnosed = self.sources.bank(self.context.generator(_BANK, 0))
        return diagnose(
            detector.network,
            detector.reconstruct,
            clean,
            draw=draw,
            bank=self._diagnosed,
            directions=directions,
        )

    def tuned(self) -> dict[str, float]:
        """Hyperparameters that move while this trial trains, where they are now."""
        return {} if self.tuning is None else self.tuning.settings()

    def state(self) -> dict[str, Any]:
        """Everything that a training needs to go on from here, on the CPU."""
        state = {
            "step": self.step_number,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "plateau": self.plateau.state(),
        }
        if self.tuning is not None:
            state["tuning"] = self.tuning.tuned.state()
        copied: dict[str, Any] = on_cpu(state)
        return copied

    def _resume(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(copy.deepcopy(dict(state["optimiser"])))
        self.plateau = Plateau.restore(state["plateau"])
        self.step_number = int(state["step"])
        if self.tuning is not None:
            self.tuning.tuned.load(state["tuning"])
            self.recipe = self.tuning.moved(self.recipe)

    def _noise(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """What is added to this rank's inputs, and to their targets."""
        values, none = self.values, torch.zeros((), device=self.context.device)
        if values["noise_target"] == "none" or values["noise_sigma"] == 0:
            return none, none
        shape = (int(values["batch_size"]), 3, *self.data.size)
        noise = draw_noise(shape, values["noise_sigma"], values["noise_law"], generator)[self.share]
        return noise, noise if values["noise_target"] == "anchored" else none

    def _tune(self, tuning: CorruptionTuning) -> None:
        """Move the corruption's own parameters, on images and draws of this step."""
        generator, batch = (
            self.context.generator(_TUNE, self.step_number),
            self.values["batch_size"],
        )
        train, test = (
            images[choose(len(images), batch, generator)]
            for images in (self.data.train, self.data.test)
        )
        clean = unit(augment(train, self.values["augmentation"], generator)[self.share])
        draw = CUTDIFF_SIGNED.draw(batch, self.data.size, generator).share(self.share)
        seen = TuningBatch(clean, clean, unit(test[self.share]), *self._noise(generator), draw)
        tuning.move(self.network, self.optimiser, seen)
        self.recipe = tuning.moved(self.recipe)

    def _rate(self, step: int) -> float:
        steps = self.values["steps"]
        after = {
            "cosine": lambda: cosine(step, steps),
            "plateau": lambda: self.plateau.factor,
            "constant": lambda: 1.0,
        }
        return warm_up(step, steps) * after[self.values["schedule"]]()

    def _loss(self, images: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        if self.context.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with self.context.autocast():
            output = self.network(images)
        return filtering_loss(output.float(), target, mask, self.values["mask_weight"])

    def _jacobian_distance(self, images: Tensor) -> Tensor:
        """Mean over this rank's images, each in a random direction of its own."""
        whole = (int(self.values["batch_size"]), *images.shape[1:])
        generator = self.context.generator(_DIRECTION, self.step_number)
        directions = torch.randn(whole, generator=generator, device=images.device)[self.share]
        with self.context.autocast():
            return identity_distance(self.network, images, directions).mean()

    @torch.no_grad()
    def _validation_loss(self) -> float:
        """The loss on held-out images under corruptions that never change."""
        if self._validation is None:
            clean = unit(self.data.held_out[:_VALIDATION])
            generator = self.context.generator(_VALIDATE)
            draw = self._first_recipe.draw(
                len(clean), self.data.size, generator, self.sources.has_pool
            )
            images, mask = apply(clean, draw, self.sources.bank(generator))
            self._validation = (images, clean, mask)
        return float(self._loss(*self._validation).mean())
