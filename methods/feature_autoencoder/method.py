"""The feature-space filtering autoencoder as a method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.backbones.space import FEWEST_CELLS, SPACE, OnFeatures, check_space
from methods.contract import Context, Progress, TrialData, unit
from methods.corruption.cutdiff import adopted
from methods.corruption.hyperparameters import CORRUPTION
from methods.corruption.recipe import CorruptionRecipe, apply
from methods.corruption.textures import TextureSources
from methods.feature_autoencoder.detector import FeatureDetector
from methods.feature_autoencoder.hyperparameters import SCORING, TRAINING
from methods.feature_autoencoder.network import smallest
from methods.feature_autoencoder.training import Training, bank_bytes
from methods.hyperparameter import Hyperparameter, Value
from methods.training.course import course


class FeatureAutoencoder(OnFeatures):
    """An autoencoder that takes corruption and noise out of the features of a frozen network.

    See the README beside this file.
    """

    name: ClassVar[str] = "feature-fae"
    title: ClassVar[str] = "Feature-space filtering autoencoder"
    paper: ClassVar[str] = "FAE (arXiv 2511.07233) and PAE (arXiv 2606.15280), on frozen features"
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        *SPACE,
        *TRAINING,
        *CORRUPTION,
        *SCORING,
    )

    def check(self, data: TrialData, hyperparameters: Mapping[str, Value]) -> None:
        """Raise ValueError where sizes, textures, values or the backbone do not fit."""
        values = self._complete(hyperparameters)
        check_space(data, values, self.fewest_cells(values))
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
        context.check(values)
        training = Training(data, values, context)
        yield from course(
            training,
            int(values["steps"]),
            training.detector,
            lambda detector: {"residual": float(detector.spread.square().mean())},
            training.tuned,
        )

    def restore(
        self, hyperparameters: Mapping[str, Value], weights: Mapping[str, Tensor]
    ) -> FeatureDetector:
        """The detector that `weights()` came from, on the CPU."""
        return FeatureDetector.from_weights(self._complete(hyperparameters), weights)

    def corrupt(
        self,
        data: TrialData,
        hyperparameters: Mapping[str, Value],
        count: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Training images and the same corrupted, without noise, in [0, 1]."""
        self.check(data, hyperparameters)
        recipe = CorruptionRecipe.from_values(self._complete(hyperparameters))
        data = data.to(generator.device)
        sources = TextureSources(data.train, data.textures)
        index = torch.randint(
            len(data.train), (count,), generator=generator, device=generator.device
        )
        clean = unit(data.train[index])
        draw = recipe.draw(count, data.size, generator, sources.has_pool)
        return clean, apply(clean, draw, sources.bank(generator))[0]

    def families(self, hyperparameters: Mapping[str, Value]) -> frozenset[str]:
        """Kinds of corruption that training draws, and the synthetic defects that look like
        these; none where no image is corrupted."""
        values = self._complete(hyperparameters)
        if values["corrupted_share"] == 0:
            return frozenset()
        return CorruptionRecipe.from_values(values).families()

    def adopt(self, augmentation: str, tuned: Mapping[str, float]) -> dict[str, Value]:
        """Hyperparameters of this method that stand for a CutDiff that another method learned,
        from its `Progress.tuned`; empty where it learned another augmentation."""
        return adopted(augmentation, tuned)

    def fewest_cells(self, values: Mapping[str, Any]) -> int:
        """The fewest features a side that a detector of these hyperparameters works on."""
        return max(FEWEST_CELLS, smallest(values["depth"]))

    def trial_bytes(self, data: TrialData, hyperparameters: Mapping[str, Value]) -> int:
        """Bytes of features that a trial holds for itself."""
        values = self._complete(hyperparameters)
        return bank_bytes(data, values, self.backbone(values).channels)
