"""DeepSVDD: normal images are drawn together around one point (Ruff et al., 2018)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from methods.contract import Context, Progress, Scoring, TrialData, stream_seed, unit
from methods.hyperparameter import Hyperparameter, Value
from methods.networks.hyperparameters import NETWORK
from methods.networks.resnet import ResNet18, initialise, stem_for
from methods.onepass import OnePass
from methods.state import below, on_cpu, under
from methods.training import hyperparameters as declare
from methods.training.checks import check_training_images
from methods.training.course import course
from methods.training.gradient import INIT, GradientTraining, batch_at
from methods.training.untuned import NormalOnly

_BATCH = 64
# A coordinate of the centre at zero could be met by weights that are all zero.
_LEAST_COORDINATE = 0.1
_FAST_SHARE, _SLOW = 1 / 3, 0.1
_PAPER = "DeepSVDD (Ruff et al., 2018), section 4"


class SupportVectorDetector:
    """Scores images by the squared distance of their embedding from the centre."""

    def __init__(self, trunk: ResNet18, size: tuple[int, int], centre: Tensor) -> None:
        self.trunk = trunk.eval().requires_grad_(False)
        self.size, self.centre = size, centre

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """`[B, 8 * width]`."""
        return torch.cat([self.trunk(p.to(self.centre.device)) for p in images.split(_BATCH)])

    def scores(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B]`; there is no setting to choose."""
        return self._distance(self.embed(images))

    def grid_scores(self, images: Tensor, grid: Sequence[Scoring]) -> Tensor:
        """`[S, B]`, the same S times."""
        return self.scores(images, {}).expand(len(grid), -1).clone()

    def one_pass(self, scoring: Scoring) -> OnePass:
        """Scores; see `methods.onepass`."""
        return OnePass(self.trunk, self.trunk, lambda images, rows: (self._distance(rows),))

    def _distance(self, rows: Tensor) -> Tensor:
        return (rows - self.centre).square().sum(1)

    def weights(self) -> dict[str, Tensor]:
        """Network, centre and image size."""
        trunk = under("trunk", self.trunk.state_dict())
        return {**trunk, "centre": on_cpu(self.centre), "size": torch.tensor(self.size)}


def build_trunk(values: Mapping[str, Any], size: tuple[int, int], seed: int) -> ResNet18:
    """ResNet-18 without biases, with which the network could map all images to the centre."""
    stem = stem_for(size) if values["stem"] == "auto" else values["stem"]
    trunk = ResNet18(values["width"], stem)
    initialise(trunk, torch.Generator().manual_seed(seed))
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.requires_grad_(False)
    return trunk


@torch.no_grad()
def centre_of(trunk: ResNet18, train: Tensor) -> Tensor:
    """`[D]`: the mean embedding of training images by the untrained network, kept off zero."""
    trunk.eval()
    centre = torch.cat([trunk(unit(part)) for part in train.split(_BATCH)]).mean(0)
    sign = torch.where(centre < 0, -1.0, 1.0)
    return torch.where(centre.abs() < _LEAST_COORDINATE, sign * _LEAST_COORDINATE, centre)


class DeepSVDD(NormalOnly):
    """One-class DeepSVDD on the trunk of the self-tuned detector."""

    name: ClassVar[str] = "deep-svdd"
    title: ClassVar[str] = "DeepSVDD"
    paper: ClassVar[str] = "DeepSVDD (Ruff et al., 2018)"
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        declare.steps(1200, f"{_PAPER}: 50 and 100 epochs"),
        declare.batch_size(32),
        declare.learning_rate(1e-4, f"{_PAPER}, for the first third of the steps; then a tenth"),
        declare.weight_decay(1e-6, _PAPER),
        *(parameter for parameter in NETWORK if parameter.name in ("width", "stem")),
    )

    def _check_images(self, data: TrialData) -> None:
        check_training_images(data)

    def _course(
        self, data: TrialData, values: Mapping[str, Any], context: Context
    ) -> Iterator[Progress]:
        steps, batch = int(values["steps"]), int(values["batch_size"])
        trunk = context.prepare(build_trunk(values, data.size, stream_seed(context.seed, INIT)))
        # From the untrained network, which follows from the seed: the same after a resume.
        centre = centre_of(trunk, data.train)
        optimiser = torch.optim.Adam(
            [p for p in trunk.parameters() if p.requires_grad],
            lr=values["learning_rate"],
            weight_decay=values["weight_decay"],
        )

        def loss(step: int) -> Tensor:
            embedded = trunk(batch_at(data, batch, context, step))
            return (embedded - centre).square().sum(1).mean()

        def rate(step: int) -> float:
            return float(values["learning_rate"]) * (1 if step < _FAST_SHARE * steps else _SLOW)

        training = GradientTraining(context, trunk, optimiser, rate, loss)
        yield from course(
            training,
            steps,
            lambda: SupportVectorDetector(copy.deepcopy(trunk), data.size, centre.clone()),
        )

    def restore(
        self, hyperparameters: Mapping[str, Value], weights: Mapping[str, Tensor]
    ) -> SupportVectorDetector:
        """The detector that `weights()` came from, on the CPU."""
        height, width = (int(n) for n in weights["size"])
        trunk = build_trunk(self._complete(hyperparameters), (height, width), 0)
        trunk.load_state_dict(below("trunk", weights))
        return SupportVectorDetector(trunk, (height, width), weights["centre"])
