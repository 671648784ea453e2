"""Two workers in two threads of one process, for tests of what they train together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import Tensor

from methods.contract import Context


def on_two_ranks(work: Callable[[Context], Any], seed: int, rungs: int) -> list[Any]:
    """What `work` returns on rank 0 and on rank 1."""
    barrier, sums, results = threading.Barrier(2, timeout=120), {}, {}

    def all_reduce(rank: int) -> Callable[[Tensor], Tensor]:
        def reduce(tensor: Tensor) -> Tensor:
            sums[rank] = tensor.clone()
            barrier.wait()
            mean = (sums[0] + sums[1]) / 2
            barrier.wait()
            return mean

        return reduce

    def run(rank: int) -> None:
        results[rank] = work(
            Context(seed=seed, rungs=rungs, rank=rank, world_size=2, all_reduce=all_reduce(rank))
        )

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[rank] for rank in range(2)]
