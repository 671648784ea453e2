"""What is refused before a training of classified or embedded images begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from methods.contract import Context, TrialData


def check_training_images(data: TrialData) -> None:
    """Raise ValueError for fewer than two training images, or for such as are all alike."""
    if len(data.train) < 2:
        raise ValueError("there is one training image, but a density needs at least 2")
    if all(torch.equal(image, data.train[0]) for image in data.train[1:]):
        raise ValueError(
            f"all {len(data.train)} training images are alike: their embeddings would have no"
            " spread to measure distances by"
        )


def check_steps(values: Mapping[str, Any], context: Context) -> None:
    """Raise ValueError where `Context.check` does, or for a part of a batch that is too small.

    Of the hyperparameters `steps`, `batch_size` and, where there is a choice, `norm` count.
    """
    context.check(values)
    batch = int(values["batch_size"])
    if values.get("norm", "batch") == "batch" and batch // context.world_size < 2:
        raise ValueError(
            f"batch_size is {batch} for {context.world_size} workers, but batch normalisation"
            " needs 2 images a worker; raise it, or use norm=group"
        )
