"""The surfaces on which selection is judged, and the labelled batches of each.

A surface is a set of normal training images; one training on it serves all its batches, since
nothing that is trained here looks at a batch. A task is one batch. Kinds of defects make the tasks
and, in the end, the figures; no trial and no criterion sees them.

On a fresh machine there are the six demo surfaces (three of them photographs that scikit-image
ships), each with its batch of six kinds of defects and, for the photographs, a batch with fewer
defects of a single kind; and scikit-learn's digits, one of them normal, against all others and
against one that looks like it. `--data` adds surfaces with a batch for each kind of defect.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from st_ssad_tasks import DIGITS, material

from methods.contract import TrialData
from tuner.data import prepare
from tuner.data.demo.camera import draw_light, photograph
from tuner.data.demo.catalogue import SURFACES
from tuner.data.demo.defects import KINDS
from tuner.data.demo.scene import Scene
from tuner.data.images import resize
from tuner.data.labels import load_labels

DEMO = "demo"
MIXED = "mixed"
# Of the photographs: a batch of its own for one kind of defect each, a fifth of it anomalous.
SINGLE_KINDS = {"brick": "crack", "grass": "missing_piece", "gravel": "stain"}
SINGLE_DEFECTIVE = 10
# Of a digit that is normal: the other one that is a batch of its own.
LIKE = {"2": "7", "6": "8"}
HELD_OUT = 0.2
MOST_NORMALS, MOST_GOOD, MOST_DEFECTIVE = 120, 80, 40
_STREAM = 0x5E1


@dataclass(frozen=True)
class Batch:
    """Unlabelled images uint8 `[M, 3, H, W]`, shuffled, and which are anomalous, bool `[M]`."""

    images: np.ndarray = field(repr=False)
    anomalous: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Surface:
    """Normal images uint8 `[N, 3, H, W]` and batches by name."""

    normals: np.ndarray = field(repr=False)
    batches: Mapping[str, Batch]

    def data(self, batch: str, seed: int) -> TrialData:
        """What a trial may see; `seed` parts the normal images into training and held out."""
        order = np.random.default_rng([seed, _STREAM]).permutation(len(self.normals))
        kept = max(2, round(HELD_OUT * len(order)))
        parts = (self.normals[order[kept:]], self.normals[order[:kept]], self.batches[batch].images)
        return TrialData(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))


def surface_names() -> list[str]:
    return sorted(SURFACES)


@lru_cache(maxsize=2)
def surface(source: str, name: str, size: int) -> Surface:
    """One surface of `source`, which is `demo`, `digits` or a folder."""
    if source == DIGITS:
        return _digit(name, size)
    with tempfile.TemporaryDirectory() as own:
        cache = Path(own)
        prepared = prepare(source, name, (size, size), cache)
        labels = load_labels(source, name, prepared.size, prepared.test_hashes, cache)
    if labels is None:
        raise SystemExit(f"{source} holds no labels, but selection is judged by them")
    rng = np.random.default_rng([_STREAM, *name.encode()])
    kinds = np.array(labels.defects)
    normals = prepared.train[np.sort(rng.permutation(len(prepared.train))[:MOST_NORMALS])]
    if source != DEMO:
        found = sorted(set(kinds.tolist()) - {""})
        return Surface(normals, {kind: _batch(prepared.test, kinds, kind, rng) for kind in found})
    batches = {MIXED: Batch(prepared.test, kinds != "")}
    if name in SINGLE_KINDS:
        batches[SINGLE_KINDS[name]] = _single(prepared.test[kinds == ""], name, size, rng)
    return Surface(normals, batches)


def _digit(name: str, size: int) -> Surface:
    """One digit as normal."""
    found = material(DIGITS, name, size, None)
    normals = np.concatenate([found.train, found.held_out])[:MOST_NORMALS]
    rng = np.random.default_rng([_STREAM, *name.encode()])
    others = np.where(found.kinds == "", "", MIXED)
    batches = {MIXED: _batch(found.test, others, MIXED, rng)}
    return Surface(
        normals, {**batches, LIKE[name]: _batch(found.test, found.kinds, LIKE[name], rng)}
    )


def _batch(images: np.ndarray, kinds: np.ndarray, kind: str, rng: np.random.Generator) -> Batch:
    """Good images and those of one kind, both at most as many as are cheap to judge."""
    good = rng.permutation(np.flatnonzero(kinds == ""))[:MOST_GOOD]
    bad = rng.permutation(np.flatnonzero(kinds == kind))[:MOST_DEFECTIVE]
    chosen = rng.permutation(np.concatenate([good, bad]))
    return Batch(images[chosen], kinds[chosen] == kind)


def _single(good: np.ndarray, name: str, size: int, rng: np.random.Generator) -> Batch:
    """The good images of a demo surface and new ones with one kind of defect."""
    drawn = [
        scene(name, SINGLE_KINDS[name], turn / SINGLE_DEFECTIVE, rng).image
        for turn in range(SINGLE_DEFECTIVE)
    ]
    small = np.stack([resize(image, (size, size)) for image in drawn]).transpose(0, 3, 1, 2)
    images = np.concatenate([good, small])
    anomalous = np.arange(len(images)) >= len(good)
    order = rng.permutation(len(images))
    return Batch(images[order], anomalous[order])


def scene(name: str, kind: str, strength: float, rng: np.random.Generator) -> Scene:
    """A demo surface with one defect."""
    draw, under = SURFACES[name]
    light = draw_light(rng)
    damaged, mask = KINDS[kind](rng, draw(rng, "test"), under, light.angle, strength)
    return Scene(photograph(damaged, light, rng), kind, mask)
