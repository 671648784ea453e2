"""One training run of a feature autoencoder, a step at a time."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.augmentation.cutdiff import CUTDIFF_SIGNED
from methods.backbones.contract import grid_of
from methods.backbones.space import LEVELS, FeatureSpace, features_of
from methods.contract import Context, Diverged, TrialData, stream_seed, unit
from methods.corruption.kinds import ALL
from methods.corruption.noise import draw_noise
from methods.corruption.recipe import CorruptionDraw, CorruptionRecipe, apply
from methods.corruption.textures import TextureBank, TextureSources
from methods.feature_autoencoder.detector import FeatureDetector, blocks
from methods.feature_autoencoder.network import GridAutoencoder
from methods.hypergradient.corruption import CorruptionTuning, TuningBatch
from methods.hypergradient.variant import tunes
from methods.state import on_cpu
from methods.training.batches import choose, evenly
from methods.training.loss import filtering_loss
from methods.training.schedule import cosine, warm_up

# Streams of a trial's seed: changing one hyperparameter leaves the other draws as they were.
_INIT, _BATCH, _VERSION, _CORRUPT, _NOISE, _BANK, _TUNE = range(7)
_BANK_STEPS = 256  # steps for which one bank of texture tiles serves fresh corruptions
_PART = 32  # images that are corrupted and passed through the backbone at once
_SCALE_IMAGES = 64  # training images behind the embedding's scale, at most


@dataclass(frozen=True)
class CorruptedBank:
    """K corrupted versions of N training images: native features of each level, half precision
    `[K, N, C, h, w]`, and the corruption's mask on the finest grid `[K, N, 1, h, w]`."""

    levels: tuple[Tensor, ...]
    masks: Tensor

    def taken(self, version: Tensor, image: Tensor) -> tuple[list[Tensor], Tensor]:
        return [level[version, image] for level in self.levels], self.masks[version, image].float()


class Features:
    """The network's inputs are standardised features; see `CorruptionSpace`."""

    def __init__(self, space: FeatureSpace) -> None:
        self.space = space

    def enter(self, images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Through the frozen backbone, with the graph to the images."""
        levels = self.space.extractor.differentiable(images)
        return self.space.standardised(levels), self.on_grid(mask)

    def on_grid(self, mask: Tensor) -> Tensor:
        """The share of each cell of the grid that a mask `[B, 1, H, W]` covers."""
        return F.adaptive_avg_pool2d(mask, self.space.extractor.grid(mask.shape[-2:]))

    def blocks(self, inputs: Tensor, output: Tensor, code: Tensor) -> tuple[Tensor, ...]:
        """As the detector embeds, which looks at no code: the features say what is seen."""
        return blocks(inputs, output - inputs)


class Training:
    """Network, optimiser and features of one trial on its device.

    What step t sees follows from the trial's seed and t alone: a training that goes on from a
    state equals one that was never interrupted, and each rank of several draws for the whole batch
    and takes its own part.
    """

    def __init__(self, data: TrialData, values: Mapping[str, Any], context: Context) -> None:
        self.values, self.context = values, context
        self.space = FeatureSpace.fitted(data, values, context)
        self.data = data.to(context.device)
        self.recipe = CorruptionRecipe.from_values(values)
        self.sources = TextureSources(self.data.train, self.data.textures)
        self.share = context.share(values["batch_size"])
        self.clean = self._native(self.data.train)
        self.features = Features(self.space)
        self.tuning: CorruptionTuning | None = None
        if tunes(values):
            self.tuning = CorruptionTuning(
                self.features,
                self.recipe,
                values,
                data.size,
                context,
                corrupted_share=values["corrupted_share"],
            )
            self.unlabelled = self._native(self.data.test)
        self.bank = self._corrupted_bank() if values["corrupted_versions"] else None
        network = GridAutoencoder(
            sum(self.space.extractor.channels),
            values["width"],
            values["bottleneck"],
            values["depth"],
            stream_seed(context.seed, _INIT),
        )
        self.network = context.prepare(network)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=values["learning_rate"], foreach=True
        )
        self.step_number = 0
        self._tiles: tuple[int, TextureBank] | None = None
        if context.resume is not None:
            self._resume(context.resume)
        held_out = features_of(self.space, self.data.held_out)
        scale = evenly(self.data.train, _SCALE_IMAGES)
        self._measured = features_of(self.space, scale), held_out

    def step(self) -> Tensor:
        """Train on the next batch; this rank's mean loss, detached, still on the device."""
        values, step = self.values, self.step_number
        if self.tuning is not None and self.tuning.due(step):
            self._tune(self.tuning)
        rate = values["learning_rate"] * warm_up(step, values["steps"])
        for group in self.optimiser.param_groups:
            group["lr"] = rate * cosine(step, values["steps"])
        features, target, mask = self.batch(step)
        self.optimiser.zero_grad(set_to_none=True)
        with self.context.autocast():
            output = self.network(features)
        loss = filtering_loss(output.float(), target, mask, values["mask_weight"]).mean()
        loss.backward()
        self.context.average_gradients(self.network.parameters())
        self.optimiser.step()
        self.step_number += 1
        return loss.detach()

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Input, target `[b, C, h, w]` and mask `[b, 1, h, w]` of this rank's part of a step."""
        values, context, share = self.values, self.context, self.share
        size = int(values["batch_size"])
        index = torch.randint(
            len(self.data.train),
            (size,),
            generator=context.generator(_BATCH, step),
            device=context.device,
        )
        corrupted = spread_evenly(size, round(size * values["corrupted_share"]))[share]
        chosen = index[share]
        target = self.space.standardised([level[chosen] for level in self.clean])
        features = target.clone()
        mask = target.new_zeros((len(target), 1, *target.shape[-2:]))
        rows = torch.nonzero(corrupted).flatten().to(context.device)
        if len(rows):
            levels, drawn = self._corrupted(step, index, rows)
            features[rows], mask[rows] = self.space.standardised(levels), drawn
        on_input, on_target = self._noise(context.generator(_NOISE, step), target.shape)
        return features.add_(on_input), target + on_target, mask

    def detector(self) -> FeatureDetector:
        """A snapshot that further training does not touch. Raises `Diverged` where the network's
        answers are not finite."""
        detector = FeatureDetector(
            self.space, copy.deepcopy(self.network), self.data.size, self.context.precision
        )
        if not detector.calibrate(*self._measured):
            raise Diverged(
                f"the network's answers are not finite after step {self.step_number}; a smaller"
                " learning_rate may help"
            )
        return detector

    def tuned(self) -> dict[str, float]:
        """Hyperparameters that move while this trial trains, where they are now."""
        return {} if self.tuning is None else self.tuning.settings()

    def state(self) -> dict[str, Any]:
        """Everything that a training needs to go on from here, on the CPU."""
        state = {
            "step": self.step_number,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        if self.tuning is not None:
            state["tuning"] = self.tuning.tuned.state()
        copied: dict[str, Any] = on_cpu(state)
        return copied

    def _resume(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(copy.deepcopy(dict(state["optimiser"])))
        self.step_number = int(state["step"])
        if self.tuning is not None:
            self.tuning.tuned.load(state["tuning"])
            self.recipe = self.tuning.moved(self.recipe)

    def _tune(self, tuning: CorruptionTuning) -> None:
        """Move the corruption's own parameters, on images and draws of this step."""
        batch, size = int(self.values["batch_size"]), self.data.size
        generator = self.context.generator(_TUNE, self.step_number)
        train, test = (
            choose(len(images), batch, generator)[self.share]
            for images in (self.data.train, self.data.test)
        )
        clean, unlabelled = (
            self.space.standardised([level[chosen] for level in levels])
            for levels, chosen in ((self.clean, train), (self.unlabelled, test))
        )
        draw = CUTDIFF_SIGNED.draw(batch, size, generator).share(self.share)
        noise = self._noise(generator, clean.shape)
        seen = TuningBatch(unit(self.data.train[train]), clean, unlabelled, *noise, draw)
        tuning.move(self.network, self.optimiser, seen)
        self.recipe = tuning.moved(self.recipe)

    def _noise(self, generator: torch.Generator, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What is added to this rank's inputs, and to their targets."""
        values, none = self.values, torch.zeros((), device=self.context.device)
        if values["noise_target"] == "none" or values["noise_sigma"] == 0:
            return none, none
        whole = (int(values["batch_size"]), *(int(n) for n in shape[1:]))
        noise = draw_noise(whole, values["noise_sigma"], values["noise_law"], generator)[self.share]
        return noise, noise if values["noise_target"] == "anchored" else none

    def _corrupted(self, step: int, index: Tensor, rows: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Native features and masks of the corrupted images of a step, `rows` of this rank's."""
        size, own = len(index), index[self.share][rows]
        generator = self.context.generator(_VERSION, step)
        if self.bank is None:
            draw = self.recipe.draw(size, self.data.size, generator, self.sources.has_pool)
            return self._fresh(step, own, draw[self.share][rows])
        drawn = torch.randint(
            len(self.bank.masks), (size,), generator=generator, device=index.device
        )
        levels, masks = self.bank.taken(drawn[self.share][rows], own)
        if self.tuning is not None:
            # The bank holds none of what moves: it would have to be made again at every move, and
            # a training that goes on from a state could not tell which CutDiff it was made with.
            chance = torch.rand(size, generator=generator, device=index.device)
            draw = only(self.recipe, "cutdiff").draw(size, self.data.size, generator)
            moving = torch.nonzero(chance[self.share][rows] < self.tuning.kind_share).flatten()
            if len(moving):
                patches = draw[self.share][rows][moving]
                fresh, masks[moving] = self._fresh(step, own[moving], patches)
                for level, part in zip(levels, fresh, strict=True):
                    level[moving] = part.to(level.dtype)
        return levels, masks

    def _fresh(
        self, step: int, index: Tensor, draw: CorruptionDraw
    ) -> tuple[Sequence[Tensor], Tensor]:
        """Native features and masks of training images that a draw corrupts now."""
        number = step // _BANK_STEPS
        if self._tiles is None or self._tiles[0] != number:
            self._tiles = (number, self.sources.bank(self.context.generator(_BANK, number)))
        images, mask = apply(unit(self.data.train[index]), draw, self._tiles[1])
        return self.space.extractor.computed(images), self.features.on_grid(mask)

    def _corrupted_bank(self) -> CorruptedBank | None:
        """Versions by all that stays as it is; None where nothing does."""
        recipe = self.recipe if self.tuning is None else replace(self.recipe, cutdiff_share=0.0)
        if not any(recipe.kind_share(kind) > 0 for kind in ALL):
            return None
        tiles = self.sources.bank(self.context.generator(_BANK))
        count, size = len(self.data.train), self.data.size
        versions: list[list[Tensor]] = []
        masks = []
        for version in range(self.values["corrupted_versions"]):
            generator = self.context.generator(_CORRUPT, version)
            draw = recipe.draw(count, size, generator, self.sources.has_pool)
            parts, covered = [], []
            for first in range(0, count, _PART):
                part = slice(first, first + _PART)
                images, mask = apply(unit(self.data.train[part]), draw[part], tiles)
                parts.append([level.half() for level in self.space.extractor.computed(images)])
                covered.append(self.features.on_grid(mask).half())
            versions.append([torch.cat(level) for level in zip(*parts, strict=True)])
            masks.append(torch.cat(covered))
        levels = tuple(torch.stack(level) for level in zip(*versions, strict=True))
        return CorruptedBank(levels, torch.stack(masks))

    def _native(self, images: Tensor) -> list[Tensor]:
        """Features of images uint8 at each level's own resolution, half precision."""
        parts = [
            [level.half() for level in self.space.extractor(unit(part))]
            for part in images.split(_PART)
        ]
        return [torch.cat(level) for level in zip(*parts, strict=True)]


def only(recipe: CorruptionRecipe, kind: str) -> CorruptionRecipe:
    """The recipe with one kind of corruption alone."""
    none: dict[str, Any] = {f"{other}_share": 0.0 for other in ALL if other != kind}
    return replace(recipe, **none)


def spread_evenly(size: int, count: int) -> Tensor:
    """Bool `[size]`, True at `count` places as evenly spread as can be."""
    place = torch.arange(size + 1) * count // max(1, size)
    return place.diff() > 0


def bank_bytes(data: TrialData, values: Mapping[str, Any], channels: Sequence[int]) -> int:
    """Memory that a trial holds in features: the clean ones, the corrupted versions, and those of
    the unlabelled images where a corruption learns from them."""
    cells = sum(
        count * height * width
        for count, (height, width) in zip(
            channels,
            (grid_of(data.size, s, values["scale"]) for s in LEVELS[values["levels"]]),
            strict=True,
        )
    )
    images = len(data.train) * (1 + int(values["corrupted_versions"]))
    return 2 * cells * (images + (len(data.test) if tunes(values) else 0))
