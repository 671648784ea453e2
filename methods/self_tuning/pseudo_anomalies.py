"""What an augmentation makes, to be looked at, and which synthetic defects look like it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from methods.augmentation import Augmentation
from methods.contract import TrialData, unit
from methods.training.batches import choose

# Defect families of the synthetic judge that look like what an augmentation makes.
_LOOKALIKES: Mapping[str, frozenset[str]] = {
    "cutdiff": frozenset({"stain"}),
    "cutdiff-cholesky": frozenset({"stain"}),
    "cutdiff-coloured": frozenset({"stain"}),
    "cutdiff-signed": frozenset({"stain"}),
    "cutpaste": frozenset({"patch"}),
    "cutpaste-scar": frozenset({"scar"}),
    "mixture": frozenset({"stain", "patch", "scar"}),
    "texture-blend": frozenset({"patch"}),
    "thread": frozenset({"scar"}),
}


def lookalikes(augmentation: str) -> frozenset[str]:
    """An augmentation's name, and the synthetic defects that look like what it makes."""
    return _LOOKALIKES.get(augmentation, frozenset()) | {augmentation}


def pairs(
    data: TrialData,
    augmentation: Augmentation,
    vector: Tensor,
    count: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Training images and their augmentation at `vector`: two `[count, 3, H, W]` in [0, 1], on the
    generator's device."""
    train = data.train.to(generator.device)
    clean = unit(train[choose(len(train), count, generator)])
    draw = augmentation.draw(count, data.size, generator)
    return clean, augmentation.apply(clean, vector, draw)
