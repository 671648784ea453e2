"""The method: descriptions of normal pixels, gathered around a few of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.contract import Context, Progress, TrialData, stream_seed, unit
from methods.criteria.appearance import Appearance, nearest, sample
from methods.filter_memory.detector import SCORING, FilterMemoryDetector
from methods.hyperparameter import Hyperparameter, Value
from methods.scoring.normalisation import MOST_NORMALS
from methods.training.batches import evenly
from methods.training.untuned import NormalOnly

_BATCH = 32
_STREAM = 0xF1
_FEWEST_PIXELS = 16


class FilterMemory(NormalOnly):
    """Nearest neighbours among descriptions of normal pixels by fixed filters."""

    name: ClassVar[str] = "filter-memory"
    title: ClassVar[str] = "Filter memory"
    paper: ClassVar[str] = "after PatchCore (Roth et al., 2022), without a trained network"
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        Hyperparameter(
            "steps",
            8,
            "times that the memory is moved to the means of what lies nearest (Lloyd's algorithm)",
            low=1,
            high=1000,
            source="ours",
        ),
        Hyperparameter(
            "memory",
            256,
            "descriptions that are remembered",
            low=8,
            high=8192,
            log=True,
            source="ours",
        ),
        Hyperparameter(
            "samples",
            20000,
            "descriptions of normal pixels that the memory is made from",
            low=256,
            high=1_000_000,
            log=True,
            source="ours",
        ),
        *SCORING,
    )

    def fit(
        self, data: TrialData, hyperparameters: Mapping[str, Value], context: Context
    ) -> Iterator[Progress]:
        """Move the memory `steps` times, yielding at `context.rungs` equally spaced ones.

        Every worker does the same, so that several give what one does. Raises ValueError where
        `check` would, or where there are fewer steps than rungs.
        """
        self.check(data, hyperparameters)
        values = self._complete(hyperparameters)
        steps = int(values["steps"])
        context.check(values)
        data = data.to(context.device)
        parts = data.train.split(_BATCH)
        with torch.autocast(context.device.type, enabled=False):
            rows, centre, scale = sample(
                map(unit, parts), int(values["samples"]), stream_seed(context.seed, _STREAM)
            )
        generator = context.generator(_STREAM)
        order = torch.randperm(len(rows), generator=generator, device=generator.device)
        memory = rows[order[: int(values["memory"])]]
        first = 0
        if context.resume:
            first, memory = int(context.resume["rung"]), context.resume["memory"].to(rows)
        for rung in range(first + 1, context.rungs + 1):
            for _ in range(steps * (rung - 1) // context.rungs, steps * rung // context.rungs):
                memory = moved(rows, memory)
            loss = float(nearest(rows, memory)[0].mean())
            detector = FilterMemoryDetector(Appearance(memory, centre, scale), data.size)
            detector.measure(evenly(data.held_out, MOST_NORMALS))
            state = partial(dict[str, Any], rung=rung, memory=memory.cpu())
            yield Progress(rung, loss, detector, state=state)

    def restore(
        self, hyperparameters: Mapping[str, Value], weights: Mapping[str, Tensor]
    ) -> FilterMemoryDetector:
        """The detector that `weights()` came from, on the CPU."""
        self._complete(hyperparameters)
        return FilterMemoryDetector.from_weights(weights)

    def _check_images(self, data: TrialData) -> None:
        height, width = data.size
        if len(data.train) == 0 or min(height, width) < _FEWEST_PIXELS:
            raise ValueError(
                f"there are {len(data.train)} training images of {height} x {width} pixels, but a "
                f"filter memory needs one at least, of {_FEWEST_PIXELS} pixels a side"
            )


def moved(rows: Tensor, memory: Tensor) -> Tensor:
    """One step of Lloyd's algorithm: each of `[K, D]` at the mean of the rows `[R, D]` that are
    nearest to it; one that is nearest to none stays."""
    owner = nearest(rows, memory)[1]
    counts = torch.bincount(owner, minlength=len(memory)).to(rows)
    sums = torch.zeros_like(memory).index_add_(0, owner, rows)
    return torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), memory)
