"""Images brought to the light of the training images before the network sees them.

What lifts or stretches a whole image (exposure, a colour cast, the material) goes, and with it any
anomaly that is nothing else. The same is done to images for training and for scoring.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.contract import TrialData, unit

NORMALISATIONS = ("none", "mean", "mean_spread")
# A nearly blank image is not stretched into its own noise.
_MOST_GAIN = 4.0
_PREFIX = "normalisation."


@dataclass(frozen=True)
class Normaliser:
    """Gives each channel of an image the mean level of that channel in training, and the image as a
    whole the spread around these levels, unless `spread` is None. `mean` `[3]`, `spread` scalar."""

    mean: Tensor
    spread: Tensor | None

    @classmethod
    def measured(cls, kind: str, train: Tensor) -> Normaliser | None:
        """From training images uint8 `[N, 3, H, W]`; None for the kind `none`."""
        if kind == "none":
            return None
        levels, spreads = zip(*(_light(unit(part)) for part in train.split(64)), strict=True)
        mean = torch.cat(levels).mean(0)
        return cls(mean, torch.cat(spreads).mean() if kind == "mean_spread" else None)

    def __call__(self, images: Tensor) -> Tensor:
        """`[B, 3, H, W]` in [0, 1]; what leaves this range is clipped."""
        level, gain = self._change(images)
        mean = self.mean.to(images)[:, None, None]
        return ((images - level) * gain + mean).clamp(0, 1)

    def undo(self, results: Tensor, images: Tensor) -> Tensor:
        """What a network made of normalised images `[B, 3, H, W]`, in the light of the images."""
        level, gain = self._change(images)
        mean = self.mean.to(images)[:, None, None]
        return ((results - mean) / gain + level).clamp(0, 1)

    def _change(self, images: Tensor) -> tuple[Tensor, Tensor]:
        level, spread = _light(images)
        gain = torch.ones_like(spread)
        if self.spread is not None:
            wanted = self.spread.to(images)
            gain = wanted / torch.maximum(spread, wanted / _MOST_GAIN).clamp(min=1e-6)
        # A training set without any contrast gives no scale to bring others to.
        gain = torch.where(gain > 0, gain, torch.ones_like(gain))
        return level[:, :, None, None], gain[:, None, None, None]

    def weights(self) -> dict[str, Tensor]:
        """What `from_weights` needs."""
        found = {_PREFIX + "mean": self.mean.cpu().clone()}
        if self.spread is not None:
            found[_PREFIX + "spread"] = self.spread.cpu().clone()
        return found

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> Normaliser | None:
        """The one that these weights hold, if there is one."""
        if _PREFIX + "mean" not in weights:
            return None
        return cls(weights[_PREFIX + "mean"], weights.get(_PREFIX + "spread"))


def _light(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of each channel `[B, 3]` and spread around them `[B]`."""
    level = images.mean((2, 3))
    return level, (images - level[:, :, None, None]).square().mean((1, 2, 3)).sqrt()


def normalised(data: TrialData, normaliser: Normaliser | None) -> TrialData:
    """The images of a trial as its network sees them, rounded to grey levels; textures stay."""
    if normaliser is None:
        return data

    def seen(images: Tensor) -> Tensor:
        parts = [(normaliser(unit(part)) * 255).round() for part in images.split(64)]
        return torch.cat(parts).to(torch.uint8)

    return TrialData(seen(data.train), seen(data.held_out), seen(data.test), data.textures)
