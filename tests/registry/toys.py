"""A method so small that its scores can be worked out by hand."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from methods.hyperparameter import Hyperparameter
from methods.onepass import OnePass
from methods.registry import register_method


class DistanceDetector:
    """How far each pixel is from a mean image; the score is the mean or the maximum of that."""

    def __init__(self, mean: Tensor, gain: float) -> None:
        self.mean, self.gain = mean, gain

    def embed(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def reconstruct(self, images: Tensor) -> Tensor:
        return self.mean.expand_as(images)

    def maps(self, images: Tensor, scoring) -> Tensor:
        return self.gain * (images - self.mean).abs().mean(dim=1)

    def scores(self, images: Tensor, scoring) -> Tensor:
        maps = self.maps(images, scoring).flatten(1)
        return maps.amax(1) if scoring["pooling"] == "max" else maps.mean(1)

    def grid_scores(self, images: Tensor, grid) -> Tensor:
        return torch.stack([self.scores(images, scoring) for scoring in grid])

    def one_pass(self, scoring) -> OnePass:
        pooled = Tensor.amax if scoring["pooling"] == "max" else Tensor.mean

        def judged(images: Tensor, mean: Tensor) -> tuple[Tensor, ...]:
            # Clipped, as the scoring pipeline does: members of an ensemble clip the same images.
            maps = self.gain * (images.clamp(0, 1) - mean).abs().mean(dim=1)
            return pooled(maps.flatten(1), 1), maps

        return OnePass(nn.Module(), lambda images: self.mean, judged)

    def weights(self) -> dict[str, Tensor]:
        return {"mean": self.mean}


class ScoreOnly:
    """A detector that cannot localise."""

    def __init__(self, mean: Tensor) -> None:
        self.mean = mean

    def scores(self, images: Tensor, scoring) -> Tensor:
        return (images - self.mean).abs().flatten(1).mean(1)

    def weights(self) -> dict[str, Tensor]:
        return {"mean": self.mean}


@register_method("registry_toy")
class DistanceMethod:
    title: ClassVar[str] = "distance to a mean"
    paper: ClassVar[str] = "none"
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = (
        Hyperparameter("gain", 1.0, "factor", low=0.1, high=10.0),
        Hyperparameter("pooling", "mean", "how", choices=("mean", "max"), tier="scoring"),
    )

    def restore(self, hyperparameters, weights) -> DistanceDetector:
        return DistanceDetector(weights["mean"], float(hyperparameters["gain"]))

    def families(self, hyperparameters) -> frozenset[str]:
        return frozenset()


@register_method("registry_toy_scores")
class ScoreOnlyMethod:
    title: ClassVar[str] = "distance without a map"
    paper: ClassVar[str] = "none"
    hyperparameters: ClassVar[tuple[Hyperparameter, ...]] = ()

    def restore(self, hyperparameters, weights) -> ScoreOnly:
        return ScoreOnly(weights["mean"])
