"""The criteria that look at embeddings, in several embeddings of the same autoencoders.

The kept embedding of the filtering autoencoder joins two blocks, the bottleneck and the residual,
each at unit scale on clean training images (`methods.training.embedding`). Here its
parts, and other scales of the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from selection_judge import Array, regret_of_both
from torch import Tensor

from methods.criteria.aligned import standardised
from methods.criteria.contract import Evidence
from methods.criteria.registry import get_criterion

CRITERIA = ("validation_loss", "dsv")
RESIDUAL = 18


def _bottleneck(rows: list[Tensor]) -> list[Tensor]:
    return [part[:, :-RESIDUAL] for part in rows]


def _residual(rows: list[Tensor]) -> list[Tensor]:
    return [part[:, -RESIDUAL:] for part in rows]


def _whitened(rows: list[Tensor]) -> list[Tensor]:
    """Alike in every direction in which clean training images differ."""
    train = rows[0].double()
    centre = train.mean(0)
    _, sizes, directions = torch.linalg.svd(train - centre, full_matrices=False)
    kept = sizes > 1e-3 * sizes[0]
    scale = len(train) ** 0.5 * directions[kept].T / sizes[kept]
    return [(part.double() - centre) @ scale for part in rows]


def _directions(rows: list[Tensor]) -> list[Tensor]:
    """Directions from the mean of clean training images, lengths forgotten."""
    centre = rows[0].mean(0)
    return [torch.nn.functional.normalize(part - centre, dim=1) for part in rows]


# Each takes clean, corrupted and test embeddings.
EMBEDDINGS: Mapping[str, Callable[[list[Tensor]], list[Tensor]]] = {
    "both blocks": list,
    "bottleneck": _bottleneck,
    "residual": _residual,
    "both, each entry at unit spread": lambda rows: standardised(*rows),
    "both, whitened": _whitened,
    "both, directions alone": _directions,
}


def embedded(evidence: Evidence, embedding: str) -> Evidence:
    """The same evidence in another embedding."""
    names = ("train_embeddings", "corrupted_embeddings", "test_embeddings")
    found = EMBEDDINGS[embedding]([getattr(evidence, name) for name in names])
    return replace(evidence, **dict(zip(names, found, strict=True)))


def regrets(trials: list[Evidence], auroc: Array, settings: Array) -> dict[str, float]:
    """Of the trial that each criterion picks in each embedding: `criterion in embedding` by name.

    `auroc` `[T, S]`, `settings` `[T]` those of the trials, which these criteria do not choose.
    """
    found = {}
    for name in CRITERIA:
        for embedding in EMBEDDINGS:
            own = [get_criterion(name).evaluate(embedded(trial, embedding)) for trial in trials]
            values = -torch.stack(own).numpy()
            values = np.where(np.isfinite(values), values, np.nan)
            found[f"{name} in {embedding}"] = regret_of_both(auroc, values, settings)
    return found
