"""Declarations of the hyperparameters of `methods.networks.resnet`."""

from __future__ import annotations

from methods.hyperparameter import Hyperparameter

NETWORK: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        "width",
        64,
        "channels of ResNet-18's first stage; the embedding is 8 times as wide",
        low=2,
        high=128,
        log=True,
        unit="channels",
        source="ResNet-18 (He et al., 2016)",
    ),
    Hyperparameter(
        "stem",
        "auto",
        "small: 3 x 3 without pooling; large: 7 x 7 with pooling, then a sixteenth of the pixels;"
        " auto: small for a shorter side of 64 pixels at most",
        choices=("auto", "small", "large"),
        source="ours; ResNet-18 has the large one",
    ),
    Hyperparameter(
        "norm",
        "batch",
        "batch normalisation, over normal and augmented images together, or group normalisation,"
        " which does not know of batches",
        choices=("batch", "group"),
        source="ResNet-18 (He et al., 2016) has batch normalisation",
    ),
    Hyperparameter(
        "unit_embedding",
        True,
        "whether embeddings are divided by their length",
        choices=(True, False),
        source="ours, after the first author's earlier study (Yoo et al., 2022)",
    ),
)
