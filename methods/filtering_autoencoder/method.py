"""The filtering autoencoder as a method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.contract import Context, Progress, TrialData, unit
from methods.corruption.cutdiff import adopted
from methods.corruption.hyperparameters import CORRUPTION
from methods.corruption.recipe import CorruptionRecipe, apply
from methods.corruption.textures import TextureSources
from methods.filtering_autoencoder.augmentation import augment, check_augmentation
from methods.filtering_autoencoder.detector import FilteringDetector
from methods.filtering_autoencoder.hyperparameters import TRAINING
from methods.filtering_autoencoder.normalisation import Normaliser, normalised
from methods.filtering_autoencoder.projection import PROJECTION
from methods.filtering_autoencoder.training import Training
from methods.hyperparameter import Hyperparameter, Value, complete
from methods.networks.unet import check_size
from methods.scoring.pipeline import TIER
from methods.training.course import course


class FilteringAutoencoder:
    """A U-Net trained to take corruptions out of normal images and leave the rest as it is.

    Covers FAE (anchored noise) and PAE (none); see the README beside this file.
    """

    name: ClassVar[str] = "fae"
    title: ClassVar[str] = "Filtering autoencoder"
    paper: ClassVar[str] = "FAE (arXiv 2511.07233) and Bauer et al., PAE (arXiv 2606.15280)"
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        *TRAINING,
        *CORRUPTION,
        # Declared first, projections vary slowest in a grid, on whose order a study counts.
        *PROJECTION,
        *TIER,
    )

    def check(self, data: TrialData, hyperparameters: Mapping[str, Value]) -> None:
        """Raise ValueError where sizes, textures or values do not fit this method.

        Fewer training images than a batch holds are no fault: a batch is drawn with replacement.
        """
        values = self._complete(hyperparameters)
        check_size(data.size)
        check_augmentation(values["augmentation"], data.size)
        CorruptionRecipe.from_values(values).check()
        TextureSources(data.train[:1], None if data.textures is None else data.textures[:1])

    def fit(
        self, data: TrialData, hyperparameters: Mapping[str, Value], context: Context
    ) -> Iterator[Progress]:
        """Train, yielding at `context.rungs` equally spaced steps.

        Raises ValueError before training where `check` would, or where there are fewer steps than
        rungs, and `Diverged` where the loss is no longer finite.
        """
        self.check(data, hyperparameters)
        values = self._complete(hyperparameters)
        steps = int(values["steps"])
        context.check(values)
        training = Training(data, values, context)
        yield from course(training, steps, training.detector, training.diagnostics, training.tuned)

    def restore(
        self, hyperparameters: Mapping[str, Value], weights: Mapping[str, Tensor]
    ) -> FilteringDetector:
        """The detector that `weights()` came from, on the CPU."""
        values = self._complete(hyperparameters)
        return FilteringDetector.from_weights(
            weights, values["width"], values["kernel"], values["skips"]
        )

    def corrupt(
        self,
        data: TrialData,
        hyperparameters: Mapping[str, Value],
        count: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Training images as augmented, and the same corrupted, without noise, in [0, 1]."""
        self.check(data, hyperparameters)
        values = self._complete(hyperparameters)
        normaliser = Normaliser.measured(values["normalisation"], data.train)
        data = normalised(data, normaliser).to(generator.device)
        recipe = CorruptionRecipe.from_values(values)
        sources = TextureSources(data.train, data.textures)
        index = torch.randint(
            len(data.train), (count,), generator=generator, device=generator.device
        )
        clean = unit(augment(data.train[index], values["augmentation"], generator))
        draw = recipe.draw(count, data.size, generator, sources.has_pool)
        return clean, apply(clean, draw, sources.bank(generator))[0]

    def families(self, hyperparameters: Mapping[str, Value]) -> frozenset[str]:
        """Those of "blob", "stroke" and "dots" that training draws, its other kinds of corruption,
        and the synthetic defects that look like these."""
        return CorruptionRecipe.from_values(self._complete(hyperparameters)).families()

    def adopt(self, augmentation: str, tuned: Mapping[str, float]) -> dict[str, Value]:
        """Hyperparameters of this method that stand for a CutDiff that another method learned,
        from its `Progress.tuned`; empty where it learned another augmentation."""
        return adopted(augmentation, tuned)

    def _complete(self, hyperparameters: Mapping[str, Value]) -> dict[str, Any]:
        return {**complete(self.hyperparameters, hyperparameters)}
