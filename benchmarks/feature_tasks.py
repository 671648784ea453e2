"""Tasks of the feature-space benchmarks: normal images, and a labelled batch for judging alone.

The three demo surfaces `tile`, `grid` and `carpet` are as they come (about 96 normal and 80 test
images). From folders of real parts (`--data DIR`, MVTec AD's layout) a task takes 150 normal images
and, in the batch, at most 100 normal and 80 defective ones, drawn once and for all; a category with
several kinds of defects gives a task for each. `seed` parts normal images into training and
held-out ones.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from methods.contract import TrialData
from tuner.data import prepare
from tuner.data.labels import load_labels

DEMO = "demo"
DEMO_SURFACES = ("tile", "grid", "carpet")
HELD_OUT = 0.2
MOST_NORMALS, MOST_GOOD, MOST_DEFECTIVE = 150, 100, 80
_STREAM = 0x0FEA


@dataclass(frozen=True)
class Task:
    """Normal images uint8 `[N, 3, H, W]`, the unlabelled batch `[M, 3, H, W]`, shuffled; and what
    only the judge sees: which are anomalous, bool `[M]`, and masks, bool `[M, H, W]`."""

    normals: np.ndarray = field(repr=False)
    batch: np.ndarray = field(repr=False)
    anomalous: np.ndarray = field(repr=False)
    masks: np.ndarray | None = field(repr=False)

    def data(self, seed: int) -> TrialData:
        """What a trial may see."""
        order = np.random.default_rng([seed, _STREAM]).permutation(len(self.normals))
        kept = max(2, round(HELD_OUT * len(order)))
        parts = (self.normals[order[kept:]], self.normals[order[:kept]], self.batch)
        return TrialData(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))


@lru_cache(maxsize=2)
def tasks_of(source: str, category: str, size: int) -> Mapping[str, Task]:
    """The tasks of one category of `demo` or of a folder, by name."""
    with tempfile.TemporaryDirectory() as own:
        cache = Path(own)
        prepared = prepare(source, category, (size, size), cache)
        labels = load_labels(source, category, prepared.size, prepared.test_hashes, cache)
    if labels is None:
        raise SystemExit(f"{source}/{category} holds no labels, but results are judged by them")
    kinds = np.array(labels.defects)
    masks = np.asarray(labels.masks) if labels.masks is not None else None
    rng = np.random.default_rng([_STREAM, *category.encode()])
    normals = prepared.train[np.sort(rng.permutation(len(prepared.train))[:MOST_NORMALS])]
    if source == DEMO:
        return {f"demo {category}": Task(normals, prepared.test, kinds != "", masks)}
    found = {}
    good = rng.permutation(np.flatnonzero(kinds == ""))[:MOST_GOOD]
    for kind in sorted(set(kinds.tolist()) - {""}):
        bad = rng.permutation(np.flatnonzero(kinds == kind))[:MOST_DEFECTIVE]
        chosen = rng.permutation(np.concatenate([good, bad]))
        name = category if len(set(kinds.tolist())) == 2 else f"{category} {kind}"
        found[name] = Task(
            normals,
            prepared.test[chosen],
            kinds[chosen] != "",
            None if masks is None else masks[chosen],
        )
    return found
