"""A detector under one scoring setting as one pass: what is packaged, timed and exported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from methods.contract import Detector, MapDetector, Scoring

# Scores `[B]`, and maps `[B, H, W]` where the detector localises.
Judged = tuple[Tensor, ...]


class OnePass(nn.Module):
    """Scores and maps of images from a single pass through the network, in float32.

    `network` turns images float `[B, 3, H, W]` in [0, 1] into what they are compared with, or
    embedded as (an ensemble into a list of that, one a member); `scoring` takes the images and
    that, and returns scores `[B]` and, where the detector localises, maps `[B, H, W]`. `body` is
    whatever holds the parameters. `obstacle` says why this pass is no fixed graph of operations and
    cannot be exported; empty where it can.
    """

    def __init__(
        self,
        body: nn.Module,
        network: Callable[[Tensor], Any],
        scoring: Callable[[Tensor, Any], Judged],
        obstacle: str = "",
    ) -> None:
        super().__init__()
        self.body = body
        self.network, self.scoring, self.obstacle = network, scoring, obstacle

    def forward(self, images: Tensor) -> Judged:
        return self.scoring(images, self.network(images))


@runtime_checkable
class OnePassDetector(Protocol):
    """A detector that can be had as one pass."""

    def one_pass(self, scoring: Scoring) -> OnePass:
        """Scores as `Detector.scores` and maps as `MapDetector.maps`, up to rounding.

        Always in float32, whatever format training used: a threshold must mean the same on every
        machine. Images must lie on the detector's device and have the size of its training images.
        """
        ...


def one_pass_of(detector: Detector, scoring: Scoring) -> OnePass:
    """A detector as one pass; one that cannot be had so is asked for scores and maps apart."""
    if isinstance(detector, OnePassDetector):
        return detector.one_pass(scoring)

    def judged(images: Tensor, _: Tensor) -> Judged:
        scores = detector.scores(images, scoring)
        if not isinstance(detector, MapDetector):
            return (scores,)
        return scores, detector.maps(images, scoring)

    return OnePass(nn.Module(), lambda images: images, judged, "the method offers no single pass")
