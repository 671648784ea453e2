"""The detector's network from its hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from methods.networks.resnet import Norm, ProjectionNetwork, ResNet18, initialise, stem_for

_SECOND_HEAD = 128


def build_network(values: Mapping[str, Any], size: tuple[int, int], seed: int) -> ProjectionNetwork:
    """ResNet-18 with the head of CutPaste (Li et al., 2021), scaled down with `width`.

    The initial weights follow from `seed` alone.
    """
    norm: Norm = values.get("norm", "batch")
    stem = stem_for(size) if values["stem"] == "auto" else values["stem"]
    trunk = ResNet18(values["width"], stem, norm)
    network = ProjectionNetwork(
        trunk,
        head_widths=(trunk.features, min(_SECOND_HEAD, trunk.features)),
        unit_embedding=values["unit_embedding"],
        norm=norm,
    )
    initialise(network, torch.Generator().manual_seed(seed))
    return network
