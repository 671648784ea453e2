"""Trials of the feature autoencoder, trained once and kept for every criterion to judge.

Of each surface, seed and trial a file holds the detector's raw maps of the held-out normals and of
each task's batch and pasted defects, before normalisation, smoothing and pooling, so that any
scoring setting is judged without a network. `memory_N.npz` has the same of `patch-memory` at the
Nth scale. What is true of a batch lies in `truth.npz`, which only the judge opens.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cells import Record
from choice_tasks import Source, Surface, surface
from selection_pool import drawn_uniformly, write_arrays

from methods.backbones.table import FeatureTable
from methods.contract import Context, FeatureMethod, TrialData, stream_seed, unit
from methods.criteria.defects import SyntheticSet, build_synthetic
from methods.hyperparameter import Value
from methods.registry import get_method
from methods.scoring import levels
from search_spaces.loader import load_search_space
from tuner.study.space import MethodSpace, build_space, families_of
from tuner.study.workbench import SYNTHETIC_STREAM

METHOD, MEMORY = "feature-fae", "patch-memory"
RAW = {METHOD: ("all.mse", "16.mse"), MEMORY: ("all",)}
PASTED = 128
SIZE, SCALES = 192, (0.75, 0.5, 1.0)


@dataclass(frozen=True)
class Training:
    """One trial on one surface. The first ones of a study have the defaults at each of `SCALES`;
    trials below 0 are the memory at each of them."""

    folder: str
    source: Source
    seed: int
    trial: int
    size: int = SIZE

    @property
    def label(self) -> str:
        return f"{self.source.name} | seed {self.seed} | trial {self.trial:02d}"

    @property
    def path(self) -> Path:
        name = f"memory_{-self.trial}" if self.trial < 0 else f"trial_{self.trial:02d}"
        own = Path(self.folder) / self.source.name.replace(" ", "_") / f"seed_{self.seed}"
        return own / f"{name}.npz"


@lru_cache(maxsize=4)
def space_of(method: str) -> MethodSpace:
    return build_space(get_method(method), load_search_space(method), "cpu", {})


def draw(space: MethodSpace, name: str, seed: int, trial: int) -> dict[str, Value]:
    """The hyperparameters of a trial: the defaults, then uniform draws from the search space."""
    if trial < len(SCALES):
        scale = SCALES[-trial - 1 if trial < 0 else trial]
        return space.complete({**space.defaults, "scale": scale})
    return drawn_uniformly(space, np.random.default_rng([seed, trial, *name.encode()]))


@dataclass(frozen=True)
class Shared:
    """What all trials of a surface and seed share: its data, pasted defects and features."""

    surface: Surface
    train: torch.Tensor
    held_out: torch.Tensor
    tests: Mapping[str, torch.Tensor]
    pasted: Mapping[str, SyntheticSet]
    tables: tuple[FeatureTable, ...]


@lru_cache(maxsize=1)
def shared(folder: str, source: Source, seed: int, size: int) -> Shared:
    found = surface(source, size)
    parts = {name: task.data(seed) for name, task in found.tasks.items()}
    first = next(iter(parts.values()))
    train, held_out = first.train, first.held_out
    tests = {name: part.test for name, part in parts.items()}
    method, space = get_method(METHOD), space_of(METHOD)
    assert isinstance(method, FeatureMethod)
    pasted = {}
    for name, test in tests.items():
        generator = torch.Generator().manual_seed(stream_seed(seed, SYNTHETIC_STREAM))
        pasted[name] = build_synthetic(
            held_out, test, generator, limit=PASTED, exclude=families_of(method, space),
            normals=train,
        )  # fmt: skip
    sets = [train, held_out, *tests.values(), *(s.images for s in pasted.values())]
    context = Context(seed=seed, precision="bfloat16", channels_last=True)
    defaults = space.complete(space.defaults)
    tables = tuple(method.tabulate({**defaults, "scale": s}, sets, context) for s in SCALES)
    own = Shared(found, train, held_out, tests, pasted, tables)
    _write_shared(Training(folder, source, seed, 0, size).path.parent, own)
    return own


def _write_shared(folder: Path, own: Shared) -> None:
    """What criteria see of the pasted defects and of the images as a whole; the truth apart."""
    if (folder / "truth.npz").is_file():
        return
    arrays: dict[str, Any] = {}
    for name, made in own.pasted.items():
        fields = ("on_test", "base", "family", "cell", "appearance", "test_appearance",
                  "normal_appearance")  # fmt: skip
        arrays |= {f"{name}.{f}": getattr(made, f).numpy() for f in fields}
        arrays[f"{name}.families"] = np.array(made.families)
    write_arrays(folder / "study.npz", arrays)
    write_arrays(folder / "truth.npz", {n: t.anomalous for n, t in own.surface.tasks.items()})


def train(training: Training) -> Record:
    """Train one trial and keep what it says of every batch of its surface."""
    torch.set_num_threads(1)
    seed, trial = training.seed, training.trial
    own = shared(training.folder, training.source, seed, training.size)
    name = MEMORY if trial < 0 else METHOD
    method, space = get_method(name), space_of(name)
    values = draw(space, training.source.category, seed, trial)
    first = next(iter(own.tests.values()))
    data = TrialData(own.train, own.held_out, first, None, own.tables)
    context = Context(
        seed=stream_seed(seed, max(0, trial)), rungs=1, precision="bfloat16", channels_last=True
    )
    mark = time.process_time()
    (last,) = method.fit(data, values, context)
    spent = time.process_time() - mark
    detector: Any = last.detector
    arrays: dict[str, np.ndarray] = {}
    for raw, maps in raw_maps(detector, unit(own.held_out), RAW[name]).items():
        arrays[f"held_out.{raw}"] = maps
    for task, test in own.tests.items():
        for part, images in (("test", test), ("pasted", own.pasted[task].images)):
            for raw, maps in raw_maps(detector, unit(images), RAW[name]).items():
                arrays[f"{task}.{part}.{raw}"] = maps
    write_arrays(training.path, arrays)
    drawn = {key: values[key] for key in space.drawn} if trial >= 0 else {}
    return {"train_seconds": round(spent, 2), "loss": last.train_loss, "hyperparameters": drawn}


@torch.inference_mode()
def raw_maps(detector: Any, images: torch.Tensor, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Raw maps `[B, h, w]` by name, half precision."""
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    for found in detector._features(images):
        if isinstance(found, tuple):
            z, residual = found
            own = levels.compared(residual, z, names, detector.space.slices, detector.spread)
        else:
            own = detector._raw(found, names)
        for name in names:
            parts[name].append(own[name])
    return {name: torch.cat(part).half().numpy() for name, part in parts.items()}
