"""Workers of one trial as threads: the arithmetic of a group without processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

AllReduce = Callable[[Tensor], Tensor]


def in_threads(world: int, work: Callable[[int, AllReduce], Any]) -> list[Any]:
    """What `work(rank, all_reduce)` returned or raised, for each of `world` threads."""
    barrier = threading.Barrier(world, timeout=30)
    shelf: list[Any] = [None] * world
    results: list[Any] = [None] * world

    def start(rank: int) -> None:
        def all_reduce(tensor: Tensor) -> Tensor:
            shelf[rank] = tensor.detach().clone()
            barrier.wait()
            mean = torch.stack(shelf).mean(0)
            barrier.wait()
            return mean

        try:
            results[rank] = work(rank, all_reduce)
        except Exception as error:
            # The barrier is left alone: the others may still be on their way out of it.
            results[rank] = error

    threads = [threading.Thread(target=start, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
