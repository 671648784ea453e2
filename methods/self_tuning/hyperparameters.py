"""Declarations of the self-tuned detector's hyperparameters."""

from __future__ import annotations

from methods.augmentation import augmentation_names
from methods.hypergradient.hyperparameters import (
    ALIGNMENT,
    INNER_UPDATES,
    KERNEL,
    ORDER,
    RATE,
    WARM_SHARE,
)
from methods.hyperparameter import Hyperparameter
from methods.networks.hyperparameters import NETWORK
from methods.self_tuning.starting_point import initial_hyperparameters

_PAPER = "ST-SSAD, Appendix C.2"
_CUTPASTE = "CutPaste (Li et al., 2021); ST-SSAD takes its model from there"

TRAINING: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        "steps",
        667,
        "updates of the network in all, the warm start included",
        low=1,
        high=200_000,
        log=True,
        source=f"{_PAPER}: 20 epochs of about 8 steps and 500 iterations",
    ),
    Hyperparameter(
        "batch_size",
        32,
        "normal images in a step, over all workers; as many augmented ones beside them",
        low=2,
        high=1024,
        log=True,
        unit="images",
        source=f"{_PAPER}: 32 at 256 pixels, 256 at 32 pixels",
    ),
    Hyperparameter(
        "learning_rate",
        0.03,
        "step size of the network's stochastic gradient descent",
        low=1e-5,
        high=1.0,
        log=True,
        symbol="α",
        source=_CUTPASTE,
    ),
    Hyperparameter(
        "momentum",
        0.9,
        "momentum of the network's stochastic gradient descent",
        low=0.0,
        high=0.99,
        source=_CUTPASTE,
    ),
    Hyperparameter(
        "weight_decay",
        3e-5,
        "weight decay of the network's stochastic gradient descent",
        low=0.0,
        high=0.1,
        source=_CUTPASTE,
    ),
)

TUNING: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        "augmentation",
        "cutdiff",
        "what makes pseudo-anomalies of normal images, and is learned",
        choices=tuple(augmentation_names(differentiable=True)),
        symbol="φ",
        source="ST-SSAD, section 3.2",
    ),
    RATE,
    WARM_SHARE,
    INNER_UPDATES,
    ORDER,
    ALIGNMENT,
    KERNEL,
    Hyperparameter(
        "validation",
        "all",
        "unlabelled images that the augmentation may look at: all, or one half, the other half"
        " being scored only",
        choices=("all", "half"),
        source="ST-SSAD looks at all",
    ),
    Hyperparameter(
        "test_batch_size",
        0,
        "unlabelled images in a tuning step, over all workers; 0 is as many as batch_size. Fewer"
        " lower the share of anomalies under which the loss prefers no augmentation",
        low=0,
        high=1024,
        unit="images",
    ),
    Hyperparameter(
        "patience",
        50,
        "updates of the augmentation without a better sum of both losses that end the training",
        low=1,
        high=100_000,
        log=True,
        unit="updates",
        source="ours; ST-SSAD, section 4, names the sum",
    ),
)

SCORING: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        "density_score",
        "mahalanobis",
        "distance from the Gaussian of normal embeddings, or its negative log-likelihood: one"
        " ranking, two spreads",
        choices=("mahalanobis", "nll"),
        symbol="s",
        source="ST-SSAD, section 4, says the likelihood; the code of its authors' DSV the distance",
        tier="scoring",
    ),
)

HYPERPARAMETERS: tuple[Hyperparameter, ...] = (
    *TRAINING,
    *TUNING,
    *NETWORK,
    *initial_hyperparameters(),
    *SCORING,
)
