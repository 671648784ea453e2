"""Feature extractors of timm, where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from methods.backbones.contract import BackboneError


class TimmFeatures(nn.Module):
    """The feature maps of a timm model at given strides, inputs normalised as it was trained."""

    def __init__(self, model: nn.Module, strides: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        info: Any = model.feature_info
        reductions = list(info.reduction())
        missing = sorted(set(strides) - set(reductions))
        if missing:
            raise BackboneError(
                f"the model has features at strides {reductions}, but {missing} are asked for; "
                "choose other levels"
            )
        self.places = [reductions.index(stride) for stride in strides]
        self.channels = tuple(info.channels()[place] for place in self.places)
        own: Any = model.pretrained_cfg
        self.mean: Tensor
        self.std: Tensor
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(own[name]).view(3, 1, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        found = self.model((images - self.mean) / self.std)
        return [found[place] for place in self.places]


def timm_features(name: str, strides: Sequence[int], pretrained: bool = True) -> TimmFeatures:
    """A timm model as feature extractor.

    Raises BackboneError where timm is not installed, or knows no such model or features.
    """
    try:
        import timm
    except Exception as error:  # its own imports fail in many ways
        raise BackboneError(
            f"backbone is timm:{name}, but timm cannot be imported ({error}); install it by: "
            "pip install 'tuner[backbones]'"
        ) from error
    try:
        model = timm.create_model(name, pretrained=pretrained, features_only=True)
    except RuntimeError as error:
        raise BackboneError(f"backbone is timm:{name}, but timm says: {error}") from error
    return TimmFeatures(model.eval(), strides)
