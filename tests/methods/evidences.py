"""Evidence that criteria are tested on, made of random numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from methods.criteria.contract import Evidence

SCORES = ("test_scores", "held_out_scores", "synthetic_scores", "noise_scores")


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def evidence(settings: int = 3, seed: int = 0) -> Evidence:
    generator = torch.Generator().manual_seed(seed)
    cell = 4 * (torch.arange(30) % 3) + torch.arange(30) % 4
    return Evidence(
        test_scores=normal(settings, 20, seed=seed) + 5,
        held_out_scores=normal(settings, 12, seed=seed + 1) + 5,
        synthetic_scores=normal(settings, 30, seed=seed + 2) + 6,
        synthetic_on_test=torch.arange(30) >= 15,
        synthetic_base=torch.randint(0, 12, (30,), generator=generator),
        synthetic_family=torch.arange(30) % 3,
        families=("patch", "scar", "stain"),
        train_embeddings=normal(9, 4, seed=seed + 3),
        corrupted_embeddings=normal(9, 4, seed=seed + 4) + 2,
        test_embeddings=normal(20, 4, seed=seed + 5) + 1,
        noise_scores=normal(settings, 8, seed=seed + 6) + 7,
        synthetic_cell=cell,
        normal_appearance=normal(12, 5, seed=seed + 7),
        test_appearance=normal(20, 5, seed=seed + 8) + 0.3,
        synthetic_appearance=normal(30, 5, seed=seed + 9) + cell[:, None] / 10,
    )


def changed(given: Evidence, **fields: Any) -> Evidence:
    return dataclasses.replace(given, **fields)


def with_scores(given: Evidence, change: Callable[[Tensor], Tensor]) -> Evidence:
    return changed(given, **{name: change(getattr(given, name)) for name in SCORES})
