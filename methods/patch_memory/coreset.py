"""Which features of normal images are remembered."""

from __future__ import annotations

import torch
from torch import Tensor

_PROJECTED = 32


def greedy(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Places `[count]` of rows `[R, C]`, every row near to one of them (k-centre greedy).

    Begins with a drawn row, then takes the row farthest from all that are chosen, `count` at most
    and each once. Distances are measured after a random projection to 32 dimensions, as PatchCore
    does (Roth et al., 2022, Algorithm 1; Johnson-Lindenstrauss).
    """
    count = min(count, len(rows))
    device = rows.device
    mixing = torch.randn(rows.shape[1], _PROJECTED, generator=generator, device=device)
    small = rows @ mixing if rows.shape[1] > _PROJECTED else rows
    chosen = torch.empty(count, dtype=torch.long, device=device)
    chosen[0] = torch.randint(len(rows), (1,), generator=generator, device=device)[0]
    nearest = torch.full((len(rows),), torch.inf, device=device)
    for place in range(1, count):
        # The place stays on the device: a number would have to be waited for.
        newest = small.index_select(0, chosen[place - 1 : place])
        torch.minimum(nearest, (small - newest).square().sum(1), out=nearest)
        chosen[place] = nearest.argmax()
    return chosen


def drawn(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Places `[count]` of rows drawn at random, each once."""
    order = torch.randperm(len(rows), generator=generator, device=rows.device)
    return order[: min(count, len(rows))]


CORESETS = {"greedy": greedy, "random": drawn}
