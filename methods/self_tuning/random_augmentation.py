"""The self-tuned detector with its augmentation chosen at random: the controls of ST-SSAD."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.augmentation import augmentation_names, get_augmentation
from methods.contract import Context, Progress, TrialData, stream_seed
from methods.hyperparameter import Hyperparameter, Value
from methods.networks.hyperparameters import NETWORK
from methods.self_tuning.detector import DensityDetector
from methods.self_tuning.hyperparameters import SCORING
from methods.self_tuning.losses import classification
from methods.self_tuning.network import build_network
from methods.self_tuning.pseudo_anomalies import lookalikes, pairs
from methods.training import hyperparameters as declare
from methods.training.batches import Batches
from methods.training.checks import check_training_images
from methods.training.course import course
from methods.training.gradient import INIT, VALUES, GradientTraining
from methods.training.schedule import cosine
from methods.training.untuned import Untuned

_CUTPASTE = "CutPaste (Li et al., 2021)"
_MOMENTUM = 0.9
_OF_THE_PAPER = ("cutout", "cutpaste", "cutdiff", "rotation")

_HYPERPARAMETERS: tuple[Hyperparameter, ...] = (
    declare.steps(667, "as many as ST-SSAD"),
    declare.batch_size(32, "ST-SSAD, Appendix C.2"),
    declare.learning_rate(0.03, _CUTPASTE),
    declare.weight_decay(3e-5, _CUTPASTE),
    Hyperparameter(
        "augmentation",
        "cutout",
        "what makes pseudo-anomalies of normal images",
        choices=tuple(augmentation_names()),
        symbol="φ",
        source="ST-SSAD, section 4: " + ", ".join(_OF_THE_PAPER),
    ),
    *(parameter for parameter in NETWORK if parameter.name != "norm"),
    *SCORING,
)


class _RandomAugmentation(Untuned):
    """A classifier of augmented images whose augmentation nobody tunes.

    Detector, loss and score are those of `st-ssad`; a cosine takes the learning rate to zero.
    """

    paper: ClassVar[str] = "ST-SSAD (Yoo, Zhao and Akoglu, 2023), section 4, baselines"
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = _HYPERPARAMETERS
    redraws: ClassVar[bool]

    def _check_images(self, data: TrialData) -> None:
        check_training_images(data)

    def _course(
        self, data: TrialData, values: Mapping[str, Any], context: Context
    ) -> Iterator[Progress]:
        """Diagnostics hold the drawn parameters as `augmentation.NAME`."""
        steps = int(values["steps"])
        augmentation = get_augmentation(values["augmentation"])
        seed = stream_seed(context.seed, INIT)
        network = context.prepare(build_network(values, data.size, seed))
        optimiser = torch.optim.SGD(
            network.parameters(),
            lr=values["learning_rate"],
            momentum=_MOMENTUM,
            weight_decay=values["weight_decay"],
        )
        batches = Batches(data, values, context, augmentation)

        @lru_cache(maxsize=1)
        def of_epoch(epoch: int) -> Tensor:
            generator = context.generator(VALUES, epoch)
            return augmentation.sample(data.size, generator).to(context.device)

        def vector(step: int) -> Tensor:
            """The same in every step of an epoch; in all of them where nothing is redrawn."""
            epoch = step // max(1, len(data.train) // int(values["batch_size"]))
            return of_epoch(epoch if self.redraws else 0)

        def loss(step: int) -> Tensor:
            batch = batches.at(step)
            augmented = augmentation.apply(batch.normal, vector(step), batch.draw, checked=True)
            return classification(network, batch.normal, augmented)

        training = GradientTraining(
            context,
            network,
            optimiser,
            lambda step: values["learning_rate"] * cosine(step, steps),
            loss,
        )

        def drawn(detector: DensityDetector) -> dict[str, float]:
            last = augmentation.values(vector(training.step_number - 1))
            return {f"augmentation.{name}": value for name, value in last.items()}

        yield from course(
            training,
            steps,
            lambda: DensityDetector.fitted(copy.deepcopy(network), data.train)[0],
            drawn,
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
        """Training images and their augmentation at one random choice, in [0, 1]."""
        self.check(data, hyperparameters)
        augmentation = get_augmentation(str(self._complete(hyperparameters)["augmentation"]))
        vector = augmentation.sample(data.size, generator)
        return pairs(data, augmentation, vector, count, generator)

    def families(self, hyperparameters: Mapping[str, Value]) -> frozenset[str]:
        """The synthetic defects that look like the augmentation or one of the paper's, among which
        a study may draw."""
        own = str(self._complete(hyperparameters)["augmentation"])
        return frozenset().union(*(lookalikes(name) for name in (*_OF_THE_PAPER, own)))


class RandomStatic(_RandomAugmentation):
    name: ClassVar[str] = "random-static"
    title: ClassVar[str] = "Random augmentation, drawn once"
    redraws: ClassVar[bool] = False


class RandomDynamic(_RandomAugmentation):
    name: ClassVar[str] = "random-dynamic"
    title: ClassVar[str] = "Random augmentation, drawn again in every epoch"
    redraws: ClassVar[bool] = True
