"""Declarations of the filtering autoencoder's own training hyperparameters."""

from __future__ import annotations

from methods.filtering_autoencoder.normalisation import NORMALISATIONS
from methods.hyperparameter import Hyperparameter, at

_PAE = "Bauer et al., PAE, section 4"

TRAINING: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        "learning_rate",
        1e-4,
        "step size of Adam at its highest",
        low=1e-6,
        high=0.1,
        log=True,
        source=_PAE,
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
        0.05,
        "standard deviation of the training noise, or its upper end under noise_law uniform",
        low=0.0,
        high=0.5,
        unit="grey range",
        symbol="σ (fixed) or r (uniform)",
        source="ours; one of 0.01, 0.05, 0.1, 0.2 of the FAE sweep, the best of them unpublished",
        unless=(at(noise_target="none"),),
    ),
    Hyperparameter(
        "noise_law",
        "uniform",
        "the same noise level for every image, or one from U(0, noise_sigma) for each",
        choices=("fixed", "uniform"),
        source="ours; FAE (arXiv 2511.07233) recommends U(0, r) in its outlook",
        unless=(at(noise_target="none"), at(noise_sigma=0.0)),
    ),
    Hyperparameter(
        "noise_target",
        "anchored",
        "noise on input and target alike (anchored), on the input alone (clean), or none",
        choices=("anchored", "clean", "none"),
        source="FAE (arXiv 2511.07233)",
        unless=(at(noise_sigma=0.0),),
    ),
    Hyperparameter(
        "jacobian_weight",
        0.0,
        "weight of the squared distance of the Jacobian from the identity in the loss; like"
        " anchored noise whose variance it is, without its noise",
        low=0.0,
        high=1.0,
        source="Bauer et al., PAE, supplement A.3 (no value published)",
    ),
    Hyperparameter(
        "steps",
        20_000,
        "training steps",
        low=1,
        high=200_000,
        log=True,
    ),
    Hyperparameter(
        "batch_size",
        8,
        "images in a step, over all workers",
        low=1,
        high=512,
        log=True,
        unit="images",
        source="ours, for 256 x 256",
    ),
    Hyperparameter(
        "width",
        64,
        "channels of the U-Net's first level; deeper levels have 2 and 4 times as many",
        low=2,
        high=128,
        log=True,
        unit="channels",
        source="ours; U-Net (Ronneberger et al., 2015)",
    ),
    Hyperparameter(
        "kernel",
        3,
        "kernel size of the bottleneck's dilated convolutions",
        choices=(3, 5),
        source=f"{_PAE}: 3 for textures at 512, 5 for objects at 256",
    ),
    Hyperparameter(
        "skips",
        True,
        "whether shortcuts join the two sides of the U-Net",
        choices=(True, False),
        source=f"{_PAE} (a modified U-Net)",
    ),
    Hyperparameter(
        "schedule",
        "cosine",
        "course of the learning rate after a short warm-up",
        choices=("cosine", "plateau", "constant"),
    ),
    Hyperparameter(
        "augmentation",
        "none",
        "random symmetries of a training image: left-right, both flips, all eight of a square, or"
        " flips and a turn by any angle, the border mirrored",
        choices=("none", "hflip", "flips", "dihedral", "rotations"),
        source=f"ours; {_PAE} chooses rotations and flips by category",
    ),
    Hyperparameter(
        "normalisation",
        "none",
        "whether each image's mean colour, or that and its contrast, is brought to the training"
        " images' before the network sees it",
        choices=NORMALISATIONS,
    ),
)
