"""ST-SSAD as a method."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.augmentation import get_augmentation
from methods.contract import Context, Progress, TrialData, unit
from methods.hyperparameter import Hyperparameter, Value, complete
from methods.self_tuning.detector import DensityDetector
from methods.self_tuning.guards import comparable, diagnose, warnings
from methods.self_tuning.hyperparameters import HYPERPARAMETERS
from methods.self_tuning.loop import SelfTuning
from methods.self_tuning.pseudo_anomalies import lookalikes, pairs
from methods.self_tuning.starting_point import (
    as_start,
    public_values,
    start_vector,
    usual_starts,
)
from methods.training.batches import test_batch_size, tuning_images
from methods.training.checks import check_steps, check_training_images

_SAMPLE = 32
_PART = 64  # images converted at a time
# More points of a curve than this are not seen, and would swell every record.
_TRAJECTORY = 12


class SelfTuningDetector:
    """A classifier of augmented images whose augmentation is learned by gradient, without labels.

    See the README beside this file for the equations and for what the paper leaves open.
    """

    name: ClassVar[str] = "st-ssad"
    title: ClassVar[str] = "Self-tuning detector"
    paper: ClassVar[str] = "ST-SSAD (Yoo, Zhao and Akoglu, 2023)"
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = HYPERPARAMETERS

    def check(self, data: TrialData, hyperparameters: Mapping[str, Value]) -> None:
        """Raise ValueError where images or values do not fit this method."""
        values = self._complete(hyperparameters)
        check_training_images(data)
        wanted, there = test_batch_size(values), len(tuning_images(data.test, values))
        if there < wanted:
            which = "half of the unlabelled images" if values["validation"] == "half" else "them"
            raise ValueError(
                f"a tuning step takes {wanted} unlabelled images, but there are {len(data.test)}"
                f" and it may look at {which}, {there}; lower test_batch_size or batch_size to"
                f" {there}"
            )
        if there > 1 and all(torch.equal(image, data.test[0]) for image in data.test[1:]):
            raise ValueError(
                f"all {len(data.test)} unlabelled images are alike: there is nothing to tune by"
            )
        augmentation = get_augmentation(values["augmentation"], differentiable=True)
        start_vector(augmentation, values, data.size)

    def fit(
        self, data: TrialData, hyperparameters: Mapping[str, Value], context: Context
    ) -> Iterator[Progress]:
        """Train and tune, yielding at `context.rungs` equally spaced steps.

        What a rung yields is the best state so far by the sum of both losses; once that has not
        improved for `patience` updates, the rungs left are yielded without training. Always in
        float32: second derivatives in bfloat16 are mostly rounding. Raises ValueError before
        training where `check` would, or where there are fewer steps than rungs, `Diverged` where a
        loss is not finite, and VanishedGradient where the augmentation has no effect to learn from.
        """
        self.check(data, hyperparameters)
        values = self._complete(hyperparameters)
        check_steps(values, context)
        steps = int(values["steps"])
        training = SelfTuning(data, values, context)
        sizes = (training.batches.batch, training.batches.batch, training.batches.test_batch)
        for rung in range(training.rung + 1, context.rungs + 1):
            last = rung * steps // context.rungs
            training.cosines.clear()
            training.trajectory.clear()
            total, first = 0.0, training.step_number
            while training.step_number < last and not training.stopped:
                total += training.step()
            done = training.step_number - first
            training.rung = rung
            (detector, rows), vector = training.detector(), training.kept().vector
            parts = [detector.scores(unit(p), {}) for p in training.data.test.split(_PART)]
            guards = diagnose(
                test_scores=torch.cat(parts),
                train_embeddings=rows,
                batch_sizes=sizes,
                augmentation=training.augmentation,
                vector=vector,
                sample=training.batches.sample(_SAMPLE),
            )
            state = training.state()
            yield Progress(
                rung=rung,
                train_loss=total / done if done else training.smoothed.value,
                detector=detector,
                tuned=public_values(training.augmentation, vector),
                trajectory=_trajectory(training),
                diagnostics={**_course(training), **guards},
                state=_returning(state),
            )

    def restore(
        self, hyperparameters: Mapping[str, Value], weights: Mapping[str, Tensor]
    ) -> DensityDetector:
        """The detector that `weights()` came from, on the CPU."""
        return DensityDetector.from_weights(weights, self._complete(hyperparameters))

    def corrupt(
        self,
        data: TrialData,
        hyperparameters: Mapping[str, Value],
        count: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Training images and their augmentation at its initial values, in [0, 1]; at the learned
        ones with the hyperparameters of `learned`."""
        self.check(data, hyperparameters)
        values = self._complete(hyperparameters)
        augmentation = get_augmentation(values["augmentation"], differentiable=True)
        vector = start_vector(augmentation, values, data.size)
        return pairs(data, augmentation, vector, count, generator)

    def learned(
        self, hyperparameters: Mapping[str, Value], tuned: Mapping[str, float]
    ) -> dict[str, Value]:
        """The hyperparameters with the initial values that `Progress.tuned` stands for."""
        return {**hyperparameters, **as_start(tuned)}

    def starts(self, hyperparameters: Mapping[str, Value]) -> list[dict[str, Value]]:
        """The hyperparameters once for each usual start of the augmentation: sibling trials, to be
        chosen among by score variance (ST-SSAD, section 3.3)."""
        augmentation = get_augmentation(self.augmentation(hyperparameters))
        return [{**hyperparameters, **start} for start in usual_starts(augmentation)]

    def augmentation(self, hyperparameters: Mapping[str, Value]) -> str:
        """Name of the augmentation that is learned."""
        return str(self._complete(hyperparameters)["augmentation"])

    def warnings(self, diagnostics: Mapping[str, float]) -> list[str]:
        """What a rung's diagnostics warn of, a sentence each; see `guards`."""
        return warnings(diagnostics)

    def comparable(self, diagnostics: Mapping[str, float]) -> bool:
        """Whether score variance means anything: see `guards`."""
        return comparable(diagnostics)

    def families(self, hyperparameters: Mapping[str, Value]) -> frozenset[str]:
        """The augmentation's name, and the synthetic defects that look like it."""
        return lookalikes(self.augmentation(hyperparameters))

    def _complete(self, hyperparameters: Mapping[str, Value]) -> dict[str, Any]:
        return {**complete(self.hyperparameters, hyperparameters)}


def _course(training: SelfTuning) -> dict[str, float]:
    """Where the training stands, as numbers; those that are not known yet are left out."""
    cosines = [cosine for cosine in training.cosines if math.isfinite(cosine)]
    course = {
        "training_loss": training.smoothed.value,
        "validation_loss": training.validation_loss,
        "warm_loss": training.warm_loss,
        "tuning_began": float(training.began) if training.tuning else math.nan,
        "tuning_updates": float(training.tuned.updates),
        "best_update": float(training.rule.best_update),
        "stopped_early": float(training.stopped),
        "first_order_cosine": sum(cosines) / len(cosines) if cosines else math.nan,
    }
    return {name: value for name, value in course.items() if math.isfinite(value)}


def _trajectory(training: SelfTuning) -> list[tuple[int, dict[str, float]]]:
    """Some of the steps since the rung before, evenly spread, the last among them."""
    path = training.trajectory
    count = min(len(path), _TRAJECTORY)
    kept = [path[round(i)] for i in torch.linspace(len(path) - 1, 0, count).flip(0).tolist()]
    return [(step, public_values(training.augmentation, vector)) for step, vector in kept]


def _returning(state: dict[str, Any]) -> Any:
    return lambda: state
