"""What a label-free criterion may look at, and what it must say of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Evidence:
    """One trained detector under all S settings of its scoring grid; no label among it.

    `test_scores` `[S, M]`, `held_out_scores` `[S, V]`. `synthetic_scores` `[S, Q]` belong to Q
    images with a pasted defect; image q was made from image `synthetic_base[q]` of the unlabelled
    test batch where `synthetic_on_test[q]`, else of the held-out normals, and
    `synthetic_family[q]` numbers the kind of defect in `families`. `train_embeddings` `[N, D]`
    and `corrupted_embeddings` `[N', D]` are clean and corrupted training images,
    `test_embeddings` `[M, D]`.
    """

    test_scores: Tensor
    held_out_scores: Tensor
    synthetic_scores: Tensor
    synthetic_on_test: Tensor
    synthetic_base: Tensor
    synthetic_family: Tensor
    families: tuple[str, ...]
    train_embeddings: Tensor
    corrupted_embeddings: Tensor
    test_embeddings: Tensor


@dataclass(frozen=True)
class Criterion:
    """A label-free number that says how good a detector is.

    `evaluate` returns float64 `[S]`, one value a scoring setting, NaN where it does not apply. A
    criterion that does not look at scores (`sees_scoring` False) returns the same value S times.
    `invariances` names what leaves the value unchanged ("shift", "scale", "monotone").
    """

    name: str
    title: str
    direction: Direction
    source: str
    sees_scoring: bool
    evaluate: Callable[[Evidence], Tensor]
    invariances: frozenset[str] = frozenset()
