"""Iterative energy-based projection as a method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from methods.contract import Context, Progress, TrialData
from methods.energy_projection.detector import ProjectionDetector
from methods.energy_projection.gradients import check_score
from methods.energy_projection.hyperparameters import TRAINING
from methods.energy_projection.settings import SCORING, normal_form
from methods.energy_projection.tiles import tile_size
from methods.energy_projection.training import Trainer
from methods.hyperparameter import Hyperparameter, Value
from methods.networks.bergmann import halvings
from methods.scoring import tier
from methods.training.course import course
from methods.training.gradient import GradientTraining
from methods.training.schedule import cosine
from methods.training.untuned import NormalOnly


class EnergyProjection(NormalOnly):
    """An autoencoder whose loss is descended in input space to find what an image should be.

    Four trainings (`model`), several scores (`score`); see the README beside this file.
    """

    name: ClassVar[str] = "energy-projection"
    title: ClassVar[str] = "Energy-based projection"
    paper: ClassVar[str] = (
        "Dehaene et al., Iterative energy-based projection on a normal data manifold for anomaly "
        "localization (2020)"
    )
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (*TRAINING, *SCORING)

    def check(self, data: TrialData, hyperparameters: Mapping[str, Value]) -> None:
        """Raise ValueError where sizes or values do not fit this method."""
        values = self._complete(hyperparameters)
        halvings(tile_size(data.size, values["tiles_per_side"]))
        check_score(values["score"], values["model"])

    def fit(
        self, data: TrialData, hyperparameters: Mapping[str, Value], context: Context
    ) -> Iterator[Progress]:
        """Train, yielding at `context.rungs` equally spaced steps.

        Raises ValueError where `check` would, or where there are fewer steps than rungs, and
        `Diverged` where the loss is not finite or a learned decoder variance collapses.
        """
        self.check(data, hyperparameters)
        values = self._complete(hyperparameters)
        context.check(values)
        trainer, steps = Trainer(data, values, context), int(values["steps"])
        optimiser = torch.optim.Adam(
            [p for p in trainer.model.parameters() if p.requires_grad],
            lr=values["learning_rate"],
            weight_decay=values["weight_decay"],
            foreach=True,
        )

        def rate(step: int) -> float:
            factor = cosine(step, steps) if values["schedule"] == "cosine" else 1.0
            return float(values["learning_rate"]) * factor

        training = GradientTraining(context, trainer.model, optimiser, rate, trainer.loss)
        yield from course(training, steps, trainer.detector, trainer.diagnostics)

    def restore(
        self, hyperparameters: Mapping[str, Value], weights: Mapping[str, Tensor]
    ) -> ProjectionDetector:
        """The detector that `weights()` came from, on the CPU."""
        values = self._complete(hyperparameters)
        return ProjectionDetector.from_weights(
            weights, values["model"], values["width"], values["code"]
        )

    def expand_grid(self, values: Mapping[str, Sequence[Value]]) -> list[dict[str, Value]]:
        """The scoring settings of lists of values, those that score alike once."""
        return tier.expand(SCORING, values, normal_form)
