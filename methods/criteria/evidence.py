"""What a trained detector says of the images that criteria look at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from methods.contract import Detector, Scoring, unit
from methods.criteria.contract import Evidence
from methods.criteria.defects import SyntheticSet
from methods.scoring.normalisation import left_out

NOISE_IMAGES = 16
_NOISE_SEED = 0


def noise_like(normals: Tensor, count: int = NOISE_IMAGES) -> Tensor:
    """Images `[count, 3, H, W]` from the Gaussian of each pixel of normal ones, clipped to [0, 1].

    Every call gives the same images for the same normals `[V, 3, H, W]`.
    """
    spread, mean = torch.var_mean(normals, dim=0, correction=0)
    generator = torch.Generator().manual_seed(_NOISE_SEED)
    drawn = torch.randn((count, *normals.shape[1:]), generator=generator)
    return (mean + spread.sqrt() * drawn.to(normals.device)).clamp(0, 1)


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
    `grid_scores`, so that the detector may batch as it likes; held-out normals from another, for
    none of them may take part in the normalisation of its own map. Raises ValueError for an empty
    grid.
    """
    if not grid:
        raise ValueError("the scoring grid is empty; give at least one setting")
    sizes = [len(test), len(synthetic.images), NOISE_IMAGES]
    with torch.no_grad():
        normals = unit(held_out)
        images = torch.cat((unit(torch.cat((test, synthetic.images))), noise_like(normals)))
        scores = detector.grid_scores(images, grid)
        test_scores, synthetic_scores, noise_scores = scores.split(sizes, 1)
        with left_out():
            held_out_scores = detector.grid_scores(normals, grid)
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
            noise_scores=noise_scores,
            synthetic_cell=synthetic.cell,
            normal_appearance=synthetic.normal_appearance,
            test_appearance=synthetic.test_appearance,
            synthetic_appearance=synthetic.appearance,
            test_reference=synthetic.test_reference,
            synthetic_reference=synthetic.reference,
        )
