"""Where a finished detector was wrong, by labels that nothing before could see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tuner.evaluation.audit import Array, Truth


@dataclass(frozen=True)
class Misses:
    """`overlooked` are indices of the anomalous images with the lowest scores, lowest first,
    `false_alarms` those of the normal images with the highest, highest first; each only on the
    wrong side of the threshold. `defects` names the kind of every image. `curve` holds the false
    and the true positive rates of the ROC curve.
    """

    overlooked: tuple[int, ...]
    false_alarms: tuple[int, ...]
    defects: tuple[str, ...]
    curve: tuple[tuple[float, ...], tuple[float, ...]] | None


def find_misses(labels: Truth, scores: Array, threshold: float, count: int) -> Misses:
    """The worst errors of scores `[M]` at a threshold, at most `count` of each sort.

    The curve is None where one of the two classes is missing.
    """
    from sklearn.metrics import roc_curve

    anomalous, values = np.asarray(labels.anomalous, bool), np.asarray(scores, np.float64)
    order = np.argsort(values, kind="stable")
    overlooked = [int(i) for i in order if anomalous[i] and values[i] <= threshold]
    alarms = [int(i) for i in order[::-1] if not anomalous[i] and values[i] > threshold]
    curve = None
    if anomalous.any() and not anomalous.all():
        wrong, right, _ = roc_curve(anomalous, values)
        curve = (tuple(map(float, wrong)), tuple(map(float, right)))
    return Misses(
        tuple(overlooked[:count]), tuple(alarms[:count]), tuple(map(str, labels.defects)), curve
    )
