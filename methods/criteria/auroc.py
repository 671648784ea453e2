"""Area under the ROC curve, many score vectors at once."""

from __future__ import annotations

import torch
from torch import Tensor


def auroc(positives: Tensor, negatives: Tensor) -> Tensor:
    """Chance that a positive scores above a negative, ties counting half: float64 `[S]`.

    `positives` `[S, P]`, `negatives` `[S, N]`. NaN where either set is empty or holds a NaN.
    Raises ValueError for shapes that do not match.
    """
    if positives.ndim != 2 or negatives.ndim != 2 or len(positives) != len(negatives):
        raise ValueError(
            f"positives are {list(positives.shape)} and negatives {list(negatives.shape)}, "
            "but must be [S, P] and [S, N]"
        )
    count = positives.shape[1] * negatives.shape[1]
    if count == 0:
        return torch.full(
            (len(positives),), torch.nan, dtype=torch.float64, device=positives.device
        )
    above = positives.to(torch.float64).contiguous()
    ordered = negatives.to(torch.float64).sort(1).values
    below = torch.searchsorted(ordered, above)
    not_above = torch.searchsorted(ordered, above, right=True)
    value = (below + not_above).sum(1).to(torch.float64) / (2 * count)
    undefined = above.isnan().any(1) | ordered.isnan().any(1)
    return value.masked_fill(undefined, torch.nan)
