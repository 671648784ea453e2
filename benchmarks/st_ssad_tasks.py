"""The tasks of ST-SSAD's tables: one object or digit as normal, one kind of anomaly.

The unlabelled images of a task are all good test images and those of one kind of anomaly. Kinds
make the tasks and, when a trial has ended, its figures; no trial sees them.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch

from methods.contract import TrialData

Truths = dict[str, tuple[np.ndarray, np.ndarray]]
DIGITS = "digits"


@dataclass(frozen=True)
class Material:
    """Everything of one object: uint8 `[., 3, H, W]`, and for each test image its kind of anomaly,
    empty for a good one."""

    train: np.ndarray = field(repr=False)
    held_out: np.ndarray = field(repr=False)
    test: np.ndarray = field(repr=False)
    kinds: np.ndarray = field(repr=False)

    def anomalies(self) -> list[str]:
        return sorted(set(self.kinds.tolist()) - {""})

    def task(self, anomaly: str | None) -> tuple[TrialData, Truths]:
        """The images of one task, or of all of them at once, with the truth for each task."""
        wanted = self.anomalies() if anomaly is None else [anomaly]
        there = np.isin(self.kinds, ["", *wanted])
        kinds = self.kinds[there]
        truths = {name: (np.isin(kinds, ["", name]), kinds == name) for name in wanted}
        images = (self.train, self.held_out, self.test[there])
        return TrialData(*(torch.from_numpy(np.array(part)) for part in images)), truths


def objects(source: str) -> list[str]:
    """The objects of a folder in MVTec layout; of the digits those of the paper."""
    if source == DIGITS:
        return ["2", "6"]
    from tuner.data import open_source

    return sorted(open_source(source, _cache()).categories())


@cache
def material(
    source: str, name: str, size: int, most_train: int | None, held_out: float = 0.1
) -> Material:
    """One object of `source`, which is a folder or `digits`; of its training images a share is
    held out, two at least."""
    if source == DIGITS:
        train, test, kinds = _digits(int(name), size)
    else:
        train, test, kinds = _images(source, name, size)
    order = np.random.default_rng(0).permutation(len(train))[: most_train or len(train)]
    kept = max(2, round(held_out * len(order)))
    return Material(train[order[kept:]], train[order[:kept]], test, kinds)


def _cache() -> Path:
    return Path(tempfile.gettempdir()) / "tuner-benchmarks"


def _images(location: str, name: str, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from tuner.data import prepare
    from tuner.data.labels import load_labels

    prepared = prepare(location, name, (size, size), _cache())
    labels = load_labels(location, name, prepared.size, prepared.test_hashes, _cache())
    if labels is None:
        raise SystemExit(f"{location} holds no labels, but a task is one kind of defect")
    return prepared.train, prepared.test, np.array(labels.defects)


def _digits(normal: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two thirds of the normal digit to train on; the rest, and as many of each other digit."""
    from PIL import Image
    from sklearn.datasets import load_digits

    found = load_digits()
    rng = np.random.default_rng(0)
    grey = np.rint(found.images * (255 / 16)).astype(np.uint8)
    by_digit = {n: rng.permutation(grey[found.target == n]) for n in range(10)}

    def colour(images: np.ndarray) -> np.ndarray:
        sides = (size, size)
        large = [Image.fromarray(i).resize(sides, Image.Resampling.BILINEAR) for i in images]
        return np.stack([np.asarray(image) for image in large])[:, None].repeat(3, axis=1)

    own = by_digit.pop(normal)
    train, good = np.split(own, [2 * len(own) // 3])
    others = {str(n): images[: len(good)] for n, images in by_digit.items()}
    test = np.concatenate([good, *others.values()])
    kinds = np.repeat(["", *others], [len(good), *map(len, others.values())])
    order = rng.permutation(len(test))
    return colour(train), colour(test[order]), kinds[order]
