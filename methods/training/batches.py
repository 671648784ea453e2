"""What each step sees: normal images, draws of the augmentation, unlabelled images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from methods.augmentation import Augmentation, Draw
from methods.contract import Context, TrialData, stream_seed, unit

# Streams of a trial's seed: changing one hyperparameter leaves the other draws as they were.
INIT, _BATCH, _DRAW, _TEST, _WHOLE, _SPLIT, _SAMPLE = range(7)
# More would slow every look at the whole sets down, for means that hardly move.
_WHOLE_IMAGES = 256


@dataclass(frozen=True)
class Batch:
    """This worker's part of one step: float `[b, 3, H, W]` in [0, 1], and as long a draw."""

    normal: Tensor
    draw: Draw


@dataclass(frozen=True)
class WholeSets:
    """All that the validation loss is looked up on now and then, the same every time."""

    train: Tensor
    draw: Draw
    test: Tensor


class Batches:
    """Batches that follow from the trial's seed and the number of the step alone.

    Every worker draws the whole batch and takes its own part, so that their number changes nothing
    that is trained.
    """

    def __init__(
        self,
        data: TrialData,
        values: Mapping[str, Any],
        context: Context,
        augmentation: Augmentation,
    ) -> None:
        self.data, self.context, self.augmentation = data, context, augmentation
        self.batch, self.test_batch = int(values["batch_size"]), test_batch_size(values)
        self.part, self.test_part = context.share(self.batch), context.share(self.test_batch)
        self.tuning = tuning_images(data.test, values)

    def at(self, step: int) -> Batch:
        chosen = choose(len(self.data.train), self.batch, self.context.generator(_BATCH, step))
        generator = self.context.generator(_DRAW, step)
        draw = self.augmentation.draw(self.batch, self.data.size, generator)
        return Batch(unit(self.data.train[chosen[self.part]]), draw.share(self.part))

    def test_at(self, step: int) -> Tensor:
        """This worker's unlabelled images of a tuning step."""
        generator = self.context.generator(_TEST, step)
        chosen = choose(len(self.tuning), self.test_batch, generator)
        return unit(self.tuning[chosen[self.test_part]])

    def whole(self) -> WholeSets:
        train = unit(evenly(self.data.train, _WHOLE_IMAGES))
        draw = self.augmentation.draw(len(train), self.data.size, self.context.generator(_WHOLE))
        return WholeSets(train, draw, unit(evenly(self.tuning, _WHOLE_IMAGES)))

    def sample(self, count: int) -> Batch:
        """Some images and draws to look at, the same every time and on every worker."""
        train = unit(evenly(self.data.train, count))
        draw = self.augmentation.draw(len(train), self.data.size, self.context.generator(_SAMPLE))
        return Batch(train, draw)


def choose(count: int, wanted: int, generator: torch.Generator) -> Tensor:
    """`[wanted]` numbers below `count`, none twice where there are enough."""
    if count >= wanted:
        return torch.randperm(count, generator=generator, device=generator.device)[:wanted]
    return torch.randint(count, (wanted,), generator=generator, device=generator.device)


def uncorrupted(data: TrialData, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Training images twice, for methods that train on normal images alone."""
    train = data.train.to(generator.device)
    clean = unit(train[choose(len(train), count, generator)])
    return clean, clean.clone()


def evenly(images: Tensor, most: int) -> Tensor:
    """At most so many images, evenly spread over their order."""
    if len(images) <= most:
        return images
    return images[torch.linspace(0, len(images) - 1, most).long().to(images.device)]


def test_batch_size(values: Mapping[str, Any]) -> int:
    return int(values.get("test_batch_size", 0)) or int(values["batch_size"])


def tuning_images(test: Tensor, values: Mapping[str, Any]) -> Tensor:
    """The unlabelled images that tuning may look at: all, or the half of `tuning_half`."""
    if values.get("validation", "all") == "all":
        return test
    return test[tuning_half(len(test)).to(test.device)]


def tuning_half(count: int) -> Tensor:
    """Which of `count` unlabelled images a `half` validation looks at, in ascending order: the
    same random half, the larger one, in every trial."""
    generator = torch.Generator().manual_seed(stream_seed(0, _SPLIT))
    return torch.randperm(count, generator=generator)[: (count + 1) // 2].sort().values
