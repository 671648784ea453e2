"""Exact selection from the rows of `[R, N]`, without sorting them.

On a processor numpy's vectorised partition does it in less than half the time of torch's `topk`
and `kthvalue`; elsewhere torch's own are used, and `topk` alone in a graph that is exported. The
selected values are the same.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_GROUP = 16


def order_statistic(values: Tensor, rank: int) -> Tensor:
    """The value with `rank` others before it in ascending order, for each row: `[R]`."""
    if torch.compiler.is_exporting():
        return values.topk(rank + 1, 1, largest=False, sorted=False).values.amax(1)
    if values.device.type == "cpu":
        return torch.from_numpy(np.partition(values.numpy(), rank, axis=1)[:, rank].copy())
    return values.kthvalue(rank + 1, 1).values


def largest(values: Tensor, count: int) -> Tensor:
    """The `count` largest of each row, in no order: `[R, count]`.

    They can only lie in the `count` groups with the largest maxima, so most of a row is never
    looked at a second time.
    """
    rows, length = values.shape
    if torch.compiler.is_exporting():
        return values.topk(count, 1, sorted=False).values
    groups = length // _GROUP
    if groups * _GROUP != length or groups <= 2 * count:
        return _top(values, count)
    grouped = values.view(rows, _GROUP, groups)
    best = _top_indices(grouped.amax(1), count)
    candidates = grouped.gather(2, best[:, None].expand(rows, _GROUP, count))
    return _top(candidates.reshape(rows, -1), count)


def _top(values: Tensor, count: int) -> Tensor:
    if values.device.type == "cpu":
        first = values.shape[1] - count
        return torch.from_numpy(np.partition(values.numpy(), first, axis=1)[:, first:])
    return values.topk(count, 1, sorted=False).values


def _top_indices(values: Tensor, count: int) -> Tensor:
    if values.device.type == "cpu":
        first = values.shape[1] - count
        return torch.from_numpy(np.argpartition(values.numpy(), first, axis=1)[:, first:])
    return values.topk(count, 1, sorted=False).indices
