"""Numbers that tell whether a self-tuned training went astray, and what they mean in words.

The validation loss of ST-SSAD can be lowest where nothing is augmented, and says little where the
network has not learned its task; see `methods.criteria.alignment`. Nothing here stops a training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from methods.augmentation import Augmentation
from methods.criteria.alignment import collapse_threshold
from methods.self_tuning.loop import LEARNED
from methods.self_tuning.starting_point import coordinates_of
from methods.training.batches import Batch

_BOUND = "at_bound_"
# A change that an eye would hardly see, in parts of the grey range.
_VISIBLE = 4 / 255
_SEPARATED = 2.0
_MORE_PARAMETERS = 3
_MOST_SHARE = 0.95
_FEWEST_SCORES = 8
_MOST_ITERATIONS = 200
_NUDGE = 1e-3
_LEAST_SPREAD = 1e-6
_LEAST_CHANGE = 0.5
_WHOLE_IMAGE = 0.95


def anomaly_share(distances: Tensor) -> float | None:
    """The weight of the upper of two Gaussians that explain the logarithms of distances `[M]`.

    Distances are positive anomaly scores; anomalies' often spread over orders of magnitude, hence
    the logarithm. Fitted by expectation and maximisation. None where nothing speaks for two kinds
    of images: fewer than 8 scores, a higher Bayesian information criterion than one Gaussian has,
    less than a twentieth in the lower one, or Gaussians that do not stand apart, with Ashman's
    D = sqrt(2) |m1 - m0| / sqrt(s0^2 + s1^2) at most 2 (Ashman et al., 1994).
    """
    x = distances.detach().to(torch.float64).cpu().numpy()
    if len(x) < _FEWEST_SCORES or not np.isfinite(x).all():
        return None
    x = np.log(x.clip(min=1e-12))
    spread = float(x.std())
    if spread <= 1e-9:
        return None
    single = -len(x) * (math.log(spread) + 0.5)
    # Rare anomalies and common ones: starts at several splits, the likeliest fit is taken.
    fits = [_two_gaussians(x, float(np.quantile(x, split))) for split in (0.5, 0.7, 0.85)]
    likelihood, share, means, deviations = max(fits, key=lambda fit: fit[0])
    if 2 * (likelihood - single) <= _MORE_PARAMETERS * math.log(len(x)) or share > _MOST_SHARE:
        return None
    apart = math.sqrt(2) * float(means[1] - means[0]) / float(np.linalg.norm(deviations))
    return share if apart > _SEPARATED else None


def _two_gaussians(x: np.ndarray, split: float) -> tuple[float, float, np.ndarray, np.ndarray]:
    """Log-likelihood, weight of the upper one, means and deviations, lower one first."""
    floor = 0.05 * float(x.std())
    upper = (x > split).astype(np.float64)
    before, likelihood = -math.inf, -math.inf
    means, deviations, weights = np.zeros(2), np.ones(2), np.full(2, 0.5)
    for _ in range(_MOST_ITERATIONS):
        belongs = np.stack([1 - upper, upper])
        mass = belongs.sum(1) + 1e-12
        weights = mass / mass.sum()
        means = belongs @ x / mass
        squares = (belongs * (x[None] - means[:, None]) ** 2).sum(1) / mass
        deviations = np.sqrt(squares).clip(min=floor)
        logs = (
            np.log(weights)[:, None]
            - np.log(deviations)[:, None]
            - ((x[None] - means[:, None]) / deviations[:, None]) ** 2 / 2
        )
        both = np.logaddexp(logs[0], logs[1])
        upper = np.exp(logs[1] - both)
        likelihood = float(both.sum())
        if likelihood - before < 1e-8 * abs(likelihood):
            break
        before = likelihood
    order = np.argsort(means)
    return likelihood, float(weights[order[1]]), means[order], deviations[order]


def change(augmentation: Augmentation, vector: Tensor, batch: Batch) -> tuple[float, float]:
    """How much of an image the augmentation changes, on average: the share of pixels that change
    visibly, in [0, 1], and the sum of all changes, in pixels turned from black to white."""
    with torch.no_grad():
        changed = augmentation.apply(batch.normal, vector, batch.draw)
    difference = (changed - batch.normal).abs().amax(1)
    share = (difference > _VISIBLE).float().mean()
    return float(share), float(difference.sum((1, 2)).mean())


def bounds_reached(
    augmentation: Augmentation, vector: Tensor, size: tuple[int, int]
) -> dict[str, int]:
    """-1 or 1 for each learned parameter, by public name, that lies at its lower or upper bound.

    A bound is a declared one or the least that images of `size` can show.
    """
    reached = {}
    for index, coordinate in enumerate(coordinates_of(augmentation)):
        if augmentation.periods.get(coordinate.parameter) is not None:
            continue
        for side in (-1, 1):
            nudged = vector.clone()
            nudged[index] += side * _NUDGE
            moved = float(augmentation.project(nudged, size)[index] - vector[index])
            if side * moved < _NUDGE / 2:
                reached[coordinate.name] = side
    return reached


def diagnose(
    *,
    test_scores: Tensor,
    train_embeddings: Tensor,
    batch_sizes: tuple[int, int, int],
    augmentation: Augmentation,
    vector: Tensor,
    sample: Batch,
) -> dict[str, float]:
    """The guards as numbers, for a curve or for `warnings`.

    `collapse_threshold` is the share of anomalies under which the validation loss of batches of
    `batch_sizes` (normal, augmented, unlabelled) prefers no augmentation, `anomaly_share` the
    estimate of the present one (left out where there is none), `changed_share` and `change` what
    of an image the augmentation changes (see there), `embedding_spread` the mean squared distance
    of normal embeddings from their mean, and `at_bound_NAME` -1 or 1 for a learned parameter at a
    bound.
    """
    found = {"collapse_threshold": collapse_threshold(*batch_sizes)}
    share = anomaly_share(test_scores)
    if share is not None:
        found["anomaly_share"] = share
    found["changed_share"], found["change"] = change(augmentation, vector, sample)
    centred = train_embeddings - train_embeddings.mean(0)
    found["embedding_spread"] = float(centred.square().sum(1).mean())
    reached = bounds_reached(augmentation, vector, sample.draw.size)
    return {**found, **{_BOUND + name: float(side) for name, side in reached.items()}}


def warnings(diagnostics: Mapping[str, float]) -> list[str]:
    """What a trial's last diagnostics warn of, a sentence each; empty where all is well."""
    found = []
    share, threshold = diagnostics.get("anomaly_share"), diagnostics.get("collapse_threshold")
    if share is not None and threshold is not None and share < threshold:
        found.append(
            f"about {share:.0%} of the unlabelled images look anomalous, but under {threshold:.0%}"
            " the validation loss prefers no augmentation at all; lower test_batch_size, or give"
            " more anomalous images"
        )
    warm = diagnostics.get("warm_loss")
    if warm is not None and warm > LEARNED:
        found.append(
            f"the training loss was {warm:.2f} when tuning began, and {math.log(2):.2f} is chance:"
            " the network could not tell augmented images yet, so that what it tuned says little;"
            " raise warm_share or steps, or start from a stronger augmentation"
        )
    pixels, changed = diagnostics.get("change"), diagnostics.get("changed_share")
    if pixels is not None and pixels < _LEAST_CHANGE:
        found.append(
            f"the learned augmentation has vanished: it changes an image by {pixels:.2f} pixels'"
            " worth; start from a stronger one"
        )
    if changed is not None and changed > _WHOLE_IMAGE:
        found.append(
            f"the augmentation changes {changed:.0%} of an image's pixels; a local defect is not"
            " like that"
        )
    for name, side in diagnostics.items():
        if name.startswith(_BOUND) and side:
            place = "lower" if side < 0 else "upper"
            found.append(f"the learned {name.removeprefix(_BOUND)} lies at its {place} bound")
    spread = diagnostics.get("embedding_spread")
    if spread is not None and spread < _LEAST_SPREAD:
        found.append(
            f"the embeddings of normal images have collapsed (spread {spread:.1e}): scores and"
            " their variance are not to be compared with other trials'"
        )
    return found


def comparable(diagnostics: Mapping[str, float]) -> bool:
    """Whether a trial's score variance may stand beside its siblings' (ST-SSAD, section 3.3).

    Not where its network had not learned its task when tuning began, since what it tuned is
    arbitrary then, and not where its embeddings have collapsed, since the variance of distances in
    units of next to nothing can be as high as it likes.
    """
    learned = diagnostics.get("warm_loss", 0.0) <= LEARNED
    return learned and diagnostics.get("embedding_spread", 1.0) >= _LEAST_SPREAD
