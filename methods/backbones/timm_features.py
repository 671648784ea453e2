"""Feature extractors of timm, where it is installed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class TimmFeatures(nn.Module):
    """The feature maps of a timm model at given strides, inputs normalised as it was trained."""

    def __init__(self, model: nn.Module, strides: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        info: Any = model.feature_info
        reductions = list(info.reduction())
        missing = sorted(set(strides) - set(reductions))
        if missing:
            raise ValueError(
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


def timm_features(
    name: str, strides: Sequence[int], pretrained: bool = True
) -> tuple[nn.Module, str, str]:
    """A timm model as feature extractor, the digest of its weights, and their origin.

    Raises ValueError where timm is not installed, or knows no such model or features.
    """
    try:
        import timm
    except Exception as error:  # its own imports fail in many ways
        raise ValueError(
            f"backbone is timm:{name}, but timm cannot be imported ({error}); install it by: "
            "pip install 'tuner[backbones]'"
        ) from error
    try:
        model = timm.create_model(name, pretrained=pretrained, features_only=True)
    except RuntimeError as error:
        raise ValueError(f"backbone is timm:{name}, but timm says: {error}") from error
    network = TimmFeatures(model.eval(), strides)
    digest = hashlib.sha256()
    for key, value in network.state_dict().items():
        digest.update(key.encode() + value.contiguous().numpy().tobytes())
    return network, digest.hexdigest(), f"timm's {name}, its weights and licence as timm says"
