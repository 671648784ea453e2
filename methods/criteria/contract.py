"""What a label-free criterion may look at, and what it must say of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
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

    What follows may be None, where it was not gathered. `noise_scores` `[S, G]` belong to images
    drawn pixel by pixel from the Gaussians of held-out normals. `synthetic_cell` `[Q]` numbers the
    finer family of a defect (kind, size, contrast). Three are rows of one fixed embedding that no
    trial trains (`methods.criteria.appearance`), of N normals, the batch and the defects: `[N, E]`,
    `[M, E]`, `[Q, E]`. The last two are scores of the batch `[M]` and of the defects `[Q]` by a
    reference detector that no trial trains.
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
    noise_scores: Tensor | None = None
    synthetic_cell: Tensor | None = None
    normal_appearance: Tensor | None = None
    test_appearance: Tensor | None = None
    synthetic_appearance: Tensor | None = None
    test_reference: Tensor | None = None
    synthetic_reference: Tensor | None = None

    def nowhere(self) -> Tensor:
        """The value of a criterion that does not apply: NaN for each setting."""
        scores = self.test_scores
        return torch.full((len(scores),), torch.nan, dtype=torch.float64, device=scores.device)


@dataclass(frozen=True)
class Criterion:
    """A label-free number that says how good a detector is.

    `evaluate` returns float64 `[S]`, one value a scoring setting, NaN where it does not apply. A
    criterion that does not look at scores (`sees_scoring` False) returns the same value S times.
    `invariances` names what leaves the value unchanged ("shift", "scale", "monotone"), `needs` the
    fields of the evidence that it reads: where one is None, the value is NaN.
    """

    name: str
    title: str
    direction: Direction
    source: str
    sees_scoring: bool
    evaluate: Callable[[Evidence], Tensor]
    invariances: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class StudyCriterion:
    """A label-free number that says how good each of several candidates is beside the others.

    `evaluate` takes the scores `[T, M]` of T candidates (trials, or trials under several scoring
    settings) for the same M images, higher more anomalous, and returns float64 `[T]`, NaN where it
    does not apply. Only the order of a candidate's scores counts. Higher is better.
    """

    name: str
    title: str
    source: str
    evaluate: Callable[[Tensor], Tensor]
