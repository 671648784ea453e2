"""What methods have in common that learn no hyperparameter while they train."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.contract import Context, Progress, TrialData
from methods.hyperparameter import Hyperparameter, Value, complete
from methods.training.batches import uncorrupted
from methods.training.checks import check_steps


class Untuned:
    """A method without anything to tune, which trains in one `_course`.

    Whoever checks or trains otherwise replaces `check` or `fit`, and needs no hook of that one.
    """

    name: ClassVar[str]
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]]

    def check(self, data: TrialData, hyperparameters: Mapping[str, Value]) -> None:
        """Raise ValueError where images or values do not fit this method."""
        self._complete(hyperparameters)
        self._check_images(data)

    def fit(
        self, data: TrialData, hyperparameters: Mapping[str, Value], context: Context
    ) -> Iterator[Progress]:
        """Train, yielding at `context.rungs` equally spaced steps.

        Raises ValueError where `check` would, or where there are fewer steps than rungs, and
        `Diverged` where the loss is not finite.
        """
        self.check(data, hyperparameters)
        values = self._complete(hyperparameters)
        check_steps(values, context)
        yield from self._course(data.to(context.device), values, context)

    def _check_images(self, data: TrialData) -> None:
        raise NotImplementedError

    def _course(
        self, data: TrialData, values: Mapping[str, Any], context: Context
    ) -> Iterator[Progress]:
        raise NotImplementedError

    def _complete(self, hyperparameters: Mapping[str, Value]) -> dict[str, Any]:
        return {**complete(self.hyperparameters, hyperparameters)}


class Uncorrupted:
    """A method that learns from normal images as they are."""

    def corrupt(
        self,
        data: TrialData,
        hyperparameters: Mapping[str, Value],
        count: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Training images twice: nothing is corrupted."""
        return uncorrupted(data, count, generator)

    def families(self, hyperparameters: Mapping[str, Value]) -> frozenset[str]:
        """None."""
        return frozenset()


class NormalOnly(Uncorrupted, Untuned):
    """A method without anything to tune that trains on normal images as they are."""
