"""What a trained detector says of the images that criteria look at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from methods.contract import Detector, Scoring, unit
from methods.criteria.contract import Evidence
from methods.criteria.defects import SyntheticSet


def gather_evidence(
    detector: Detector,
    clean: Tensor,
    corrupted: Tensor,
    *,
    held_out: Tensor,
    test: Tensor,
    synthetic: SyntheticSet,
    grid: Sequence[Scoring],
) -> Evidence:
    """Score and embed everything once, under the whole grid.

    `clean` and `corrupted` float `[N, 3, H, W]` in [0, 1] (from `Method.corrupt`), `held_out`,
    `test` and the synthetic images uint8 `[., 3, H, W]`. Scores come from one call of
    `grid_scores`, so that the detector may batch as it likes. Raises ValueError for an empty grid.
    """
    if not grid:
        raise ValueError("the scoring grid is empty; give at least one setting")
    sizes = [len(test), len(held_out), len(synthetic.images)]
    with torch.no_grad():
        images = unit(torch.cat((test, held_out, synthetic.images)))
        scores = detector.grid_scores(images, grid)
        test_scores, held_out_scores, synthetic_scores = scores.split(sizes, 1)
        return Evidence(
            test_scores=test_scores,
            held_out_scores=held_out_scores,
            synthetic_scores=synthetic_scores,
            synthetic_on_test=synthetic.on_test,
            synthetic_base=synthetic.base,
            synthetic_family=synthetic.family,
            families=synthetic.families,
            train_embeddings=detector.embed(clean),
            corrupted_embeddings=detector.embed(corrupted),
            test_embeddings=detector.embed(images[: len(test)]),
        )
