"""Trials of the feature autoencoder, trained once and kept for every criterion to judge.

Of each surface, seed and trial a file holds the detector's raw maps of the held-out normals and of
each task's batch and pasted defects, before normalisation, smoothing and pooling, so that any
scoring setting is judged without a network; and what criteria of embeddings look at. `memory.npz`
has the same of `patch-memory`. What is true of a batch lies in `truth.npz`, which only the judge
opens.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cells import Record
from choice_tasks import Source, Surface, surface, trial_data

from methods.backbones.table import FeatureTable
from methods.contract import Context, FeatureMethod, TrialData, stream_seed, unit
from methods.criteria.defects import SyntheticSet, build_synthetic
from methods.criteria.evidence import noise_like
from methods.hyperparameter import Value
from methods.registry import get_method
from methods.scoring import levels
from search_spaces.loader import Choice, load_search_space
from tuner.study.space import MethodSpace, build_space, families_of
from tuner.study.trial import CORRUPTION_STREAM
from tuner.study.workbench import SYNTHETIC_STREAM

METHOD, MEMORY = "feature-fae", "patch-memory"
RAW = {METHOD: ("all.mse", "16.mse"), MEMORY: ("all",)}
EMBEDDED, PASTED = 64, 128
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
        own = {} if trial < 0 else {"scale": SCALES[trial]}
        return space.complete({**space.defaults, **own})
    rng = np.random.default_rng([seed, trial, *name.encode()])
    point: dict[str, Value] = {}
    for parameter, drawn in space.drawn.items():
        if isinstance(drawn, Choice):
            point[parameter] = drawn.values[int(rng.integers(len(drawn.values)))]
            continue
        low, high = (np.log([drawn.low, drawn.high])) if drawn.log else (drawn.low, drawn.high)
        value = float(rng.uniform(low, high))
        value = float(np.exp(value)) if drawn.log else value
        point[parameter] = round(value) if drawn.integer else value
    return space.complete(point)


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
    parts = {
        name: trial_data(found.normals, task.batch, seed) for name, task in found.tasks.items()
    }
    train, held_out, _ = next(iter(parts.values()))
    tests = {name: part[2] for name, part in parts.items()}
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
    arrays: dict[str, Any] = {"looks.held_out": _looks(own.held_out)}
    arrays["looks.train"] = _looks(own.train)
    for name, made in own.pasted.items():
        task = own.surface.tasks[name]
        fields = ("on_test", "base", "family", "cell", "appearance", "test_appearance",
                  "normal_appearance")  # fmt: skip
        arrays |= {f"{name}.{f}": getattr(made, f).numpy() for f in fields}
        arrays[f"{name}.families"] = np.array(made.families)
        arrays[f"{name}.looks"] = _looks(own.tests[name])
        assert len(task.anomalous) == len(own.tests[name])
    _write(folder / "study.npz", arrays)
    _write(folder / "truth.npz", {n: t.anomalous for n, t in own.surface.tasks.items()})


def _looks(images: torch.Tensor) -> np.ndarray:
    """Mean and spread of each channel, and the mean absolute step between pixels: `[N, 7]`."""
    x = unit(images)
    step = (x.diff(dim=3).abs().mean((1, 2, 3)) + x.diff(dim=2).abs().mean((1, 2, 3))) / 2
    return torch.cat((x.mean((2, 3)), x.std((2, 3)), step[:, None]), 1).numpy()


def train(training: Training) -> Record:
    """Train one trial and keep what it says of every batch of its surface."""
    torch.set_num_threads(1)
    seed, trial = training.seed, training.trial
    own = shared(training.folder, training.source, seed, training.size)
    name = MEMORY if trial < 0 else METHOD
    method, space = get_method(name), space_of(name)
    values = draw(space, training.source.category, seed, trial)
    first = next(iter(own.tests.values()))
    if trial < 0:
        values = {**values, "scale": SCALES[-trial - 1]}
    data = TrialData(own.train, own.held_out, first, None, own.tables)
    context = Context(
        seed=stream_seed(seed, max(0, trial)), rungs=1, precision="bfloat16", channels_last=True
    )
    mark = time.process_time()
    (last,) = method.fit(data, values, context)
    spent = time.process_time() - mark
    detector: Any = last.detector
    arrays: dict[str, np.ndarray] = {}
    noise = noise_like(unit(own.held_out))
    for raw, maps in raw_maps(detector, unit(own.held_out), RAW[name]).items():
        arrays[f"held_out.{raw}"] = maps
    for raw, maps in raw_maps(detector, noise, RAW[name]).items():
        arrays[f"noise.{raw}"] = maps
    for task, test in own.tests.items():
        for part, images in (("test", test), ("pasted", own.pasted[task].images)):
            for raw, maps in raw_maps(detector, unit(images), RAW[name]).items():
                arrays[f"{task}.{part}.{raw}"] = maps
        arrays[f"{task}.embedding"] = _half(detector.embed(unit(test)))
        if trial < 0:
            arrays[f"{task}.pooled"] = _half(pooled(detector, unit(test)))
    count = min(EMBEDDED, len(own.train))
    clean, corrupted = method.corrupt(data, values, count, context.generator(CORRUPTION_STREAM))
    arrays["clean"] = _half(detector.embed(clean))
    arrays["corrupted"] = _half(detector.embed(corrupted))
    arrays["clean.pooled"] = _half(pooled(detector, clean))
    arrays["corrupted.pooled"] = _half(pooled(detector, corrupted))
    _write(training.path, arrays)
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
    return {name: _half(torch.cat(part)) for name, part in parts.items()}


@torch.inference_mode()
def pooled(detector: Any, images: torch.Tensor) -> torch.Tensor:
    """Mean and largest standardised features of each channel: `[B, 2 C]`, before any training."""
    z = torch.cat([detector.space(part) for part in images.split(32)])
    return torch.cat((z.mean((2, 3)), z.amax((2, 3))), 1)


def _half(values: torch.Tensor) -> np.ndarray:
    return values.half().numpy()


def _write(path: Path, arrays: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{os.getpid()}-{path.name}")
    with open(aside, "wb") as file:
        np.savez(file, **arrays)
    aside.replace(path)
