"""Workers of a fit as threads, each with a context of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from methods.contract import Context
from tests import threads


def in_threads(world: int, work: Callable[[Context], Any], **options: Any) -> list[Any]:
    """What `work(context)` returned or raised, for each of `world` threads."""
    return threads.in_threads(
        world,
        lambda rank, all_reduce: work(
            Context(rank=rank, world_size=world, all_reduce=all_reduce, **options)
        ),
    )
