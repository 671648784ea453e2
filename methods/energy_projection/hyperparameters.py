"""Declarations of the training hyperparameters."""

from __future__ import annotations

from methods.energy_projection.model import KINDS
from methods.hyperparameter import Hyperparameter

_PAPER = "Dehaene et al. (2020), 4.1"
_NETWORK = "Bergmann et al. (2018), Table 1"

TRAINING: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        "model",
        "vae",
        "what the autoencoder is trained by: L2, DSSIM, or as a VAE with a decoder variance of one "
        "or a learned one",
        choices=KINDS,
        source=f"{_PAPER}; the VAE is that of its comparison with other scores",
    ),
    Hyperparameter(
        "learning_rate",
        1e-4,
        "step size of Adam at its highest",
        low=1e-6,
        high=0.1,
        log=True,
        source=_PAPER,
    ),
    Hyperparameter(
        "schedule",
        "constant",
        "course of the learning rate: constant, or down to 0 along half a cosine",
        choices=("constant", "cosine"),
        source=f"{_PAPER} names one rate",
    ),
    Hyperparameter(
        "steps",
        23_700,
        "training steps",
        low=1,
        high=200_000,
        log=True,
        source=f"{_PAPER}: 300 epochs of 10 000 images, in batches of 128",
    ),
    Hyperparameter(
        "batch_size",
        128,
        "images or crops in a step, over all workers",
        low=1,
        high=1024,
        log=True,
        unit="images",
        source="Bergmann et al. (2018); Dehaene et al. give none",
    ),
    Hyperparameter(
        "weight_decay",
        0.0,
        "weight decay",
        low=0.0,
        high=0.1,
        source="ours; Bergmann et al. (2018) have 1e-5",
    ),
    Hyperparameter(
        "width",
        32,
        "channels of the first levels; deeper levels have up to 4 times as many",
        low=2,
        high=128,
        log=True,
        unit="channels",
        source=_NETWORK,
    ),
    Hyperparameter(
        "code", 100, "numbers in the code", low=2, high=2048, log=True, symbol="l", source=_PAPER
    ),
    Hyperparameter(
        "tiles_per_side",
        1,
        "1 takes images whole; 2 and 4 train on random crops of a half or a quarter of the sides, "
        "and judge by tiles of that size",
        choices=(1, 2, 4),
        source=f"{_PAPER}: objects whole at 128; textures by crops of 128 out of 512, which is 4",
    ),
    Hyperparameter(
        "rotation",
        10.0,
        "largest turn of a training image taken whole, either way",
        low=0.0,
        high=180.0,
        unit="degrees",
        source=f"ours; {_PAPER} rotates, by how much it does not say",
    ),
    Hyperparameter(
        "shift",
        0.1,
        "largest shift of a training image taken whole, either way",
        low=0.0,
        high=0.5,
        unit="fraction of a side",
        source=f"ours; {_PAPER} translates, by how much it does not say",
    ),
)
