"""The memory of patch features as a method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from methods.backbones.space import (
    SPACE,
    FeatureSpace,
    OnFeatures,
    check_space,
    features_of,
)
from methods.contract import Context, Progress, TrialData
from methods.hyperparameter import Hyperparameter, Value
from methods.patch_memory.coreset import CORESETS
from methods.patch_memory.detector import PatchMemoryDetector, nearest_distance
from methods.scoring.levels import MAP_SCORING
from methods.training.batches import evenly
from methods.training.untuned import Uncorrupted

_STREAM = 0x9A
_SCALE_IMAGES = 64
_LOSS_ROWS = 4096


class PatchMemory(Uncorrupted, OnFeatures):
    """Nearest neighbours among features of normal images; nothing is trained.

    See the README beside this file.
    """

    name: ClassVar[str] = "patch-memory"
    title: ClassVar[str] = "Patch memory"
    paper: ClassVar[str] = "PatchCore (Roth et al., 2022)"
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        *SPACE,
        Hyperparameter(
            "memory",
            3000,
            "features that are remembered",
            low=16,
            high=100_000,
            log=True,
            source="ours; PatchCore keeps 1 to 10 % of all",
        ),
        Hyperparameter(
            "coreset",
            "random",
            "how they are chosen: farthest from those chosen before (greedy), or at random",
            choices=tuple(CORESETS),
            source="PatchCore is greedy",
        ),
        Hyperparameter(
            "samples",
            30_000,
            "features of training images among which the memory is chosen",
            low=256,
            high=10_000_000,
            log=True,
        ),
        *MAP_SCORING,
    )

    def check(self, data: TrialData, hyperparameters: Mapping[str, Value]) -> None:
        """Raise ValueError where sizes, values or the backbone do not fit."""
        check_space(data, self._complete(hyperparameters))

    def fit(
        self, data: TrialData, hyperparameters: Mapping[str, Value], context: Context
    ) -> Iterator[Progress]:
        """Fill the memory, a part at each of `context.rungs`; every worker does the same.

        Raises ValueError where `check` would.
        """
        self.check(data, hyperparameters)
        values = self._complete(hyperparameters)
        space = FeatureSpace.fitted(data, values, context)
        data = data.to(context.device)
        rows = _sampled(space, data.train, int(values["samples"]), context)
        choose = CORESETS[values["coreset"]]
        chosen = choose(rows, int(values["memory"]), context.generator(_STREAM))
        measured = (
            features_of(space, evenly(data.train, _SCALE_IMAGES)),
            features_of(space, data.held_out),
        )
        first = int(context.resume["rung"]) if context.resume else 0
        for rung in range(first + 1, context.rungs + 1):
            memory = rows[chosen[: max(1, len(chosen) * rung // context.rungs)]]
            detector = PatchMemoryDetector(space, memory, data.size)
            detector.calibrate(*measured)
            loss = float(nearest_distance(rows[:_LOSS_ROWS], memory).mean())
            yield Progress(rung, loss, detector, state=lambda rung=rung: {"rung": rung})  # type: ignore[misc]

    def restore(
        self, hyperparameters: Mapping[str, Value], weights: Mapping[str, Tensor]
    ) -> PatchMemoryDetector:
        """The detector that `weights()` came from, on the CPU."""
        return PatchMemoryDetector.from_weights(self._complete(hyperparameters), weights)

    def trial_bytes(self, data: TrialData, hyperparameters: Mapping[str, Value]) -> int:
        """Bytes of features that a trial holds for itself."""
        values = self._complete(hyperparameters)
        return 4 * int(values["samples"]) * sum(self.backbone(values).channels)


def _sampled(space: FeatureSpace, train: Tensor, count: int, context: Context) -> Tensor:
    """Standardised features `[R, C]` at positions drawn from all training images, the same number
    from each, `count` at most."""
    generator = context.generator(_STREAM, 1)
    each = max(1, count // len(train))
    parts = []
    for part in train.split(32):
        found = features_of(space, part).flatten(2).transpose(1, 2)
        scores = torch.rand(found.shape[:2], generator=generator, device=generator.device)
        places = scores.topk(min(each, found.shape[1]), 1).indices
        parts.append(torch.stack([image[own] for image, own in zip(found, places, strict=True)]))
    return torch.cat(parts).flatten(0, 1)
