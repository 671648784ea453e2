"""A plain convolutional autoencoder: what it cannot reproduce is anomalous."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.contract import Context, Progress, Scoring, TrialData, stream_seed, unit
from methods.hyperparameter import Hyperparameter, Value, complete
from methods.onepass import OnePass
from methods.scoring import pipeline
from methods.scoring.normalisation import MOST_NORMALS, MapStatistics, packed, unpacked
from methods.state import below, under
from methods.training import hyperparameters as declare
from methods.training.batches import evenly
from methods.training.course import course
from methods.training.gradient import INIT, GradientTraining, batch_at
from methods.training.schedule import cosine
from methods.training.untuned import NormalOnly

_BATCH = 64
_SMALLEST_MAP = 4
_WIDEST = 8
_PAPER = "Golan and El-Yaniv (2018), whose autoencoder is the baseline of ST-SSAD"
# The baseline's score is the mean squared error of the whole image.
_SCORE: Mapping[str, Value] = {"discrepancy": "mse", "smoothing_passes": 0, "pooling": "sum"}
SCORING = tuple(
    replace(p, default=_SCORE.get(p.name, p.default), source=_PAPER) for p in pipeline.TIER
)


def levels_of(size: tuple[int, int]) -> int:
    """How often an image is halved: down to 4 pixels. Raises ValueError where it does not go."""
    levels = max(1, int(math.log2(min(size) / _SMALLEST_MAP))) if min(size) >= 8 else 0
    if levels == 0 or any(side % 2**levels for side in size):
        divisor = 2 ** max(1, levels)
        raise ValueError(
            f"images are {size[0]} x {size[1]}, but both sides must be multiples of {divisor} and"
            " at least 8; prepare the data at another size"
        )
    return levels


class _Code(nn.Module):
    """Convolutions of stride 2 with batch normalisation down to 4 pixels, a code, and back."""

    def __init__(self, size: tuple[int, int], width: int, code: int) -> None:
        super().__init__()
        levels = levels_of(size)
        widths = [3, *(width * min(2**level, _WIDEST) for level in range(levels))]
        self.map = (widths[-1], size[0] // 2**levels, size[1] // 2**levels)
        pairs = list(itertools.pairwise(widths))
        self.down = nn.Sequential(*(_halving(i, o) for i, o in pairs))
        inner = math.prod(self.map)
        self.encode, self.decode = nn.Linear(inner, code), nn.Linear(code, inner)
        self.up = nn.Sequential(*(_doubling(o, i, last=i == 3) for i, o in reversed(pairs)))

    def code(self, images: Tensor) -> Tensor:
        """`[B, code]` in (-1, 1)."""
        return torch.tanh(self.encode(self.down(2 * images - 1).flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        inner = functional.relu(self.decode(self.code(images)))
        return cast(Tensor, torch.sigmoid(self.up(inner.view(-1, *self.map))))


def _halving(inputs: int, outputs: int) -> nn.Module:
    convolution = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _doubling(inputs: int, outputs: int, last: bool) -> nn.Module:
    if last:
        return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
    convolution = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _build(values: Mapping[str, Any], size: tuple[int, int], seed: int) -> _Code:
    network = _Code(size, values["width"], values["code"])
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


class AutoencoderDetector:
    """Scores and localises by the error of reconstruction, under any setting of the pipeline."""

    def __init__(self, network: _Code, size: tuple[int, int]) -> None:
        self.network, self.size = network.eval().requires_grad_(False), size
        self.statistics: dict[str, MapStatistics] = {}

    @torch.inference_mode()
    def measure(self, normals: Tensor) -> None:
        """Measure the statistics of the maps of held-out normals uint8 `[V, 3, H, W]`."""
        images = self._here(unit(normals))
        self.statistics = pipeline.measured(images, self.reconstruct(images))

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """The code, `[B, code]`."""
        return torch.cat([self.network.code(self._here(part)) for part in images.split(_BATCH)])

    @torch.inference_mode()
    def reconstruct(self, images: Tensor) -> Tensor:
        """`[B, 3, H, W]` in [0, 1]."""
        return torch.cat([self.network(self._here(part)) for part in images.split(_BATCH)])

    @torch.inference_mode()
    def maps(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B, H, W]`, higher is more anomalous."""
        return self._judged(images, scoring)[1]

    @torch.inference_mode()
    def scores(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B]`."""
        return self._judged(images, scoring)[0]

    @torch.inference_mode()
    def grid_scores(self, images: Tensor, grid: Sequence[Scoring]) -> Tensor:
        """`[S, B]` from one pass through the network."""
        settings = [_filled(setting) for setting in grid]
        parts = [
            pipeline.grid_scores(self._here(p), self.reconstruct(p), settings, self.statistics)
            for p in images.split(_BATCH)
        ]
        return torch.cat(parts, dim=1)

    def one_pass(self, scoring: Scoring) -> OnePass:
        """Scores and maps at once; see `methods.onepass`."""
        full = _filled(scoring)
        return OnePass(
            self.network,
            self.network,
            lambda images, other: pipeline.judged(images, other, full, self.statistics),
        )

    def weights(self) -> dict[str, Tensor]:
        """Network, statistics of the maps and image size."""
        return {
            **under("network", self.network.state_dict()),
            **under("statistics", packed(self.statistics)),
            "size": torch.tensor(self.size),
        }

    def _judged(self, images: Tensor, scoring: Scoring) -> tuple[Tensor, Tensor]:
        other = self.reconstruct(images)
        return pipeline.judged(self._here(images), other, _filled(scoring), self.statistics)

    def _here(self, images: Tensor) -> Tensor:
        return images.to(next(self.network.parameters()).device)


def _filled(scoring: Scoring) -> Scoring:
    return complete(SCORING, scoring)


class Autoencoder(NormalOnly):
    """A convolutional autoencoder trained on normal images by the mean squared error."""

    name: ClassVar[str] = "ae"
    title: ClassVar[str] = "Autoencoder"
    paper: ClassVar[str] = _PAPER
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        declare.steps(2000),
        declare.batch_size(64),
        declare.learning_rate(1e-3, _PAPER),
        declare.weight_decay(0.0, "ours"),
        Hyperparameter(
            "width",
            64,
            "channels of the first level; deeper levels have up to 8 times as many",
            low=2,
            high=128,
            log=True,
            unit="channels",
            source=_PAPER,
        ),
        Hyperparameter(
            "code", 256, "numbers in the code", low=2, high=2048, log=True, source=_PAPER
        ),
        *SCORING,
    )

    def _check_images(self, data: TrialData) -> None:
        levels_of(data.size)

    def _course(
        self, data: TrialData, values: Mapping[str, Any], context: Context
    ) -> Iterator[Progress]:
        steps, batch = int(values["steps"]), int(values["batch_size"])
        network = context.prepare(_build(values, data.size, stream_seed(context.seed, INIT)))
        optimiser = torch.optim.Adam(
            network.parameters(), lr=values["learning_rate"], weight_decay=values["weight_decay"]
        )

        def loss(step: int) -> Tensor:
            images = batch_at(data, batch, context, step)
            return functional.mse_loss(network(images), images)

        def rate(step: int) -> float:
            return float(values["learning_rate"]) * cosine(step, steps)

        def snapshot() -> AutoencoderDetector:
            detector = AutoencoderDetector(copy.deepcopy(network), data.size)
            detector.measure(evenly(data.held_out, MOST_NORMALS))
            return detector

        training = GradientTraining(context, network, optimiser, rate, loss)
        yield from course(training, steps, snapshot)

    def restore(
        self, hyperparameters: Mapping[str, Value], weights: Mapping[str, Tensor]
    ) -> AutoencoderDetector:
        """The detector that `weights()` came from, on the CPU."""
        height, width = (int(n) for n in weights["size"])
        network = _build(self._complete(hyperparameters), (height, width), 0)
        network.load_state_dict(below("network", weights))
        detector = AutoencoderDetector(network, (height, width))
        detector.statistics = unpacked(below("statistics", weights))
        return detector
