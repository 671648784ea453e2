"""Images through a packaged model as a stream: decoding runs ahead while the network works."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tuner.data.images import Size, decode
from tuner.data.survey import to_uint8
from tuner.limits import processors
from tuner.prediction.places import Found
from tuner.registry.intake import Intake, one_image
from tuner.registry.package import PackagedDetector

BATCH = 32
AHEAD = 3
"""Batches that are decoded before they are needed: what a stream holds in memory."""

_MOST_THREADS = 8


@dataclass(frozen=True)
class Verdict:
    """One judged image. `map` float32 `[H, W]` (None where the model does not localise) and
    `image` uint8 `[3, H, W]` have the size of the package; `photograph()` reads the image again and
    returns uint8 `[3, H', W']` of its own `size`, or raises what reading it raises.
    `score_over_threshold` is 1.0 at the line, NaN where the threshold is not above 0."""

    name: str
    score: float
    anomalous: bool
    threshold: float
    false_positive_rate: float
    map: NDArray[np.float32] | None
    image: NDArray[np.uint8]
    photograph: Callable[[], NDArray[np.uint8]] = field(repr=False, compare=False)
    size: Size
    score_over_threshold: float


@dataclass(frozen=True)
class Unreadable:
    """One image that could not be read, and why."""

    name: str
    reason: str


@dataclass
class Clock:
    """Where the time of a stream went, in seconds.

    `decoding` is summed over the decoding threads, which work beside the rest; `waiting` is how
    long the network stood still for want of images.
    """

    images: int = 0
    decoding: float = 0.0
    waiting: float = 0.0
    network: float = 0.0
    scoring: float = 0.0
    total: float = 0.0

    def as_dict(self) -> dict[str, float]:
        rate = self.images / self.total if self.total else 0.0
        return {"images_per_second": rate, **vars(self)}


def judge_all(
    packaged: PackagedDetector,
    images: Iterable[Found],
    *,
    batch: int = BATCH,
    threads: int | None = None,
    clock: Clock | None = None,
) -> Iterator[Verdict | Unreadable]:
    """Judge images in their order, holding a few batches of them in memory, however many there are.

    An image that cannot be read is yielded as such and the others go on. `threads` decode, by
    default one a processor, at most 8. Raises ValueError for a batch or threads below 1, and
    whatever concerns a whole place rather than one image (an S3 store that is away).
    """
    threads = min(_MOST_THREADS, processors()) if threads is None else threads
    if batch < 1 or threads < 1:
        raise ValueError(f"batch is {batch} and threads {threads}, but both must be at least 1")
    clock = clock or Clock()
    began = time.perf_counter()
    with ThreadPoolExecutor(threads, "decode") as pool:
        waiting: deque[list[Future[_Read]]] = deque()
        source = iter(images)
        work = _reader(packaged)

        def refill() -> None:
            while len(waiting) < AHEAD:
                chunk = [pool.submit(work, image) for image in islice(source, batch)]
                if not chunk:
                    return
                waiting.append(chunk)

        try:
            refill()
            while waiting:
                mark = time.perf_counter()
                read = [future.result() for future in waiting.popleft()]
                refill()
                clock.waiting += time.perf_counter() - mark
                clock.decoding += sum(each.seconds for each in read)
                yield from _judged(packaged, read, clock)
                clock.total = time.perf_counter() - began
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class _Read:
    source: Found
    pixels: NDArray[np.uint8] | None
    reason: str
    seconds: float
    size: Size


def _reader(packaged: PackagedDetector) -> Callable[[Found], _Read]:
    intake = packaged.package.intake

    def read(image: Found) -> _Read:
        began = time.perf_counter()
        pixels, reason, size = None, "", (0, 0)
        try:
            pixels, size = one_image(image.read(), intake)
        except (OSError, ValueError, MemoryError) as error:
            if type(error).__name__ == "DataError":
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
        return _Read(image, pixels, reason, time.perf_counter() - began, size)

    return read


def _judged(
    packaged: PackagedDetector, read: list[_Read], clock: Clock
) -> Iterator[Verdict | Unreadable]:
    pixels = [each.pixels for each in read if each.pixels is not None]
    found: dict[str, NDArray[Any]] = {}
    if pixels:
        found = timed(packaged, np.stack(pixels), clock)
    place = 0
    for each in read:
        if each.pixels is None:
            yield Unreadable(each.source.name, each.reason)
            continue
        yield Verdict(
            each.source.name,
            float(found["score"][place]),
            bool(found["verdict"][place]),
            packaged.package.threshold,
            packaged.package.false_positive_rate,
            found["map"][place] if "map" in found else None,
            each.pixels,
            partial(_photograph, each.source, packaged.package.intake),
            each.size,
            float(found["score_over_threshold"][place]),
        )
        place += 1


def _photograph(source: Found, intake: Intake) -> NDArray[np.uint8]:
    return to_uint8(decode(source.read(), None, intake.recipe).pixels, intake.depth)


def timed(
    packaged: PackagedDetector, images: NDArray[np.uint8], clock: Clock
) -> dict[str, NDArray[Any]]:
    """`PackagedDetector.judge`, with the network's and the scoring's time put on a clock."""
    with torch.inference_mode():
        began = time.perf_counter()
        tensor = packaged.tensor(images)
        compared = packaged.one_pass.network(tensor)
        if packaged.device.type == "cuda":
            torch.cuda.synchronize(packaged.device)
        middle = time.perf_counter()
        found = packaged.verdicts(packaged.one_pass.scoring(tensor, compared))
    clock.images += len(images)
    clock.network += middle - began
    clock.scoring += time.perf_counter() - middle
    return found
