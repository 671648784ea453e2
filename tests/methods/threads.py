"""Workers of a data-parallel trial as threads of one process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from methods.contract import Context


def in_threads(world: int, work: Callable[[Context], Any], **options: Any) -> list[Any]:
    """What each worker returned, or the error that it raised; `all_reduce` is a mean behind a
    barrier, `options` are the context's."""
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

        context = Context(rank=rank, world_size=world, all_reduce=all_reduce, **options)
        try:
            results[rank] = work(context)
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=start, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
