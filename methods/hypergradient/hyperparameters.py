"""Declarations that methods share whose augmentation or corruption learns by hypergradient."""

from __future__ import annotations

from methods.hyperparameter import Hyperparameter, at

_PAPER = "ST-SSAD, Appendix C.2"

RATE = Hyperparameter(
    "tuning_rate",
    0.02,
    "step size of Adam on the augmentation: a size moves by about as large a share",
    low=1e-4,
    high=0.5,
    log=True,
    symbol="β",
)

WARM_SHARE = Hyperparameter(
    "warm_share",
    0.25,
    "share of the steps that train the network alone, before the augmentation moves",
    low=0.0,
    high=0.9,
    source=f"{_PAPER}: 20 epochs before 500 iterations",
)

INNER_UPDATES = Hyperparameter(
    "inner_updates",
    1,
    "updates of the network for each of the augmentation",
    low=1,
    high=100,
    log=True,
    source=f"{_PAPER}: 1, and 5 for digits",
)

ORDER = Hyperparameter(
    "order",
    "exact",
    "the total derivative through the training step, or its first-order part only",
    choices=("exact", "first"),
    source="ST-SSAD, Eq. 5 and Eq. 4",
)

ALIGNMENT = Hyperparameter(
    "alignment",
    "validation_loss",
    "what the augmentation descends: the mean distances of ST-SSAD, or the maximum mean"
    " discrepancy with total distance normalisation or on raw embeddings",
    choices=("validation_loss", "mmd", "mmd_raw"),
    symbol="L_val",
    source="ST-SSAD, Eq. 3; the others are its ablations",
)

KERNEL = Hyperparameter(
    "mmd_kernel",
    "linear",
    "kernel of the maximum mean discrepancy: linear compares the means of embeddings, gaussian"
    " (by the median of their distances) all of their distribution",
    choices=("linear", "gaussian"),
    source="ours; ST-SSAD names none",
    unless=(at(alignment="validation_loss"),),
)
