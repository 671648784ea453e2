"""Declarations of the feature autoencoder's own hyperparameters."""

from __future__ import annotations

from dataclasses import replace

from methods.hyperparameter import Hyperparameter
from methods.scoring.levels import LEVEL_SCORING

_PAE = "form from Bauer et al., PAE, section 4; the value is ours"

TRAINING: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        "learning_rate",
        2e-3,
        "step size of Adam at its highest; a cosine after a short warm-up",
        low=1e-5,
        high=0.1,
        log=True,
    ),
    Hyperparameter(
        "mask_weight",
        0.5,
        "weight of the corrupted region against the rest in the loss",
        low=0.0,
        high=1.0,
        symbol="λ",
        source=_PAE,
    ),
    Hyperparameter(
        "noise_sigma",
        0.2,
        "standard deviation of the training noise, or its upper end under noise_law uniform",
        low=0.0,
        high=4.0,
        unit="standard deviations of a feature channel",
        symbol="σ (fixed) or r (uniform)",
        source="form from FAE (arXiv 2511.07233), there on pixels",
    ),
    Hyperparameter(
        "noise_law",
        "uniform",
        "the same noise level for every image, or one from U(0, noise_sigma) for each",
        choices=("fixed", "uniform"),
        source="FAE (arXiv 2511.07233), outlook",
    ),
    Hyperparameter(
        "noise_target",
        "anchored",
        "noise on input and target alike (anchored), on the input alone (clean), or none",
        choices=("anchored", "clean", "none"),
        source="FAE (arXiv 2511.07233)",
    ),
    Hyperparameter(
        "corrupted_share",
        0.5,
        "share of a batch whose images are corrupted",
        low=0.0,
        high=1.0,
    ),
    Hyperparameter(
        "corrupted_versions",
        4,
        "corrupted versions of each training image, made once before training; 0 makes fresh ones"
        " at every step, which pays where the backbone is fast",
        low=0,
        high=64,
    ),
    Hyperparameter(
        "steps",
        300,
        "training steps",
        low=1,
        high=100_000,
        log=True,
    ),
    Hyperparameter(
        "batch_size",
        16,
        "images in a step, over all workers",
        low=1,
        high=512,
        log=True,
        unit="images",
    ),
    Hyperparameter(
        "width",
        128,
        "channels of the autoencoder",
        low=2,
        high=1024,
        log=True,
        unit="channels",
    ),
    Hyperparameter(
        "bottleneck",
        128,
        "channels of its code",
        low=1,
        high=512,
        log=True,
        unit="channels",
    ),
    Hyperparameter(
        "depth",
        0,
        "how often the grid is halved on the way to the code",
        low=0,
        high=4,
    ),
)

SCORING = tuple(
    replace(p, default={"discrepancy": "mse"}.get(p.name, p.default)) for p in LEVEL_SCORING
)
