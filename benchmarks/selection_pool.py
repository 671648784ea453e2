"""Trials of the filtering autoencoder, trained once and kept for every criterion to judge.

A folder holds `cells.json` (one record a training), for each task and seed `study.npz` (what its
trials share), `trial_NN.npz` each (what a detector said under all scoring settings when trained to
the end, and every criterion at every rung), and `truth.npz`, which only the judge opens.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cells import Record
from selection_tasks import DEMO, Surface, surface

from methods.contract import Context, Precision, stream_seed
from methods.criteria.contract import Evidence
from methods.criteria.defects import SyntheticSet, build_synthetic
from methods.criteria.evidence import gather_evidence
from methods.criteria.registry import criterion_names, get_criterion
from methods.hyperparameter import Value
from methods.registry import get_method
from search_spaces.loader import Choice, load_search_space
from tuner.study.space import MethodSpace, build_space, families_of
from tuner.study.trial import CORRUPTION_STREAM, EMBEDDED_IMAGES
from tuner.study.workbench import SYNTHETIC_STREAM

METHOD = "fae"
_OF_TRIALS = (
    "test_scores", "held_out_scores", "synthetic_scores", "noise_scores",
    "train_embeddings", "corrupted_embeddings", "test_embeddings",
)  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """Sizes that two processors bear."""

    size: int = 32
    steps: int = 100
    width: int = 8
    batch_size: int = 8
    rungs: int = 4
    synthetic: int = 128
    precision: Precision = "float32"

    def space(self) -> MethodSpace:
        pins = {
            "width": self.width,
            "batch_size": self.batch_size,
            "steps": self.steps,
            "kernel": 3,
        }
        return build_space(get_method(METHOD), load_search_space(METHOD), "cpu", pins)


@dataclass(frozen=True)
class Training:
    """One trial on one surface; the first of a study has the defaults. `point` replaces what it
    would draw."""

    folder: str
    source: str
    name: str
    seed: int
    trial: int
    protocol: Protocol
    point: Mapping[str, Value] | None = None

    @property
    def surface(self) -> str:
        """Its name among all surfaces: two sources may have one of the same name."""
        return self.name if self.source == DEMO else f"{Path(self.source).name}-{self.name}"

    @property
    def label(self) -> str:
        return f"{self.surface} seed {self.seed} trial {self.trial:02d}"


def study_folder(pool: Path, name: str, batch: str, seed: int) -> Path:
    return pool / f"{name}.{batch}" / f"seed_{seed}"


def draw(space: MethodSpace, name: str, seed: int, trial: int) -> dict[str, Value]:
    """The hyperparameters of a trial: the defaults, then uniform draws from the search space."""
    if trial == 0:
        return space.complete(space.defaults)
    return drawn_uniformly(space, np.random.default_rng([seed, trial, *name.encode()]))


def drawn_uniformly(space: MethodSpace, rng: np.random.Generator) -> dict[str, Value]:
    """Hyperparameters drawn from a search space, without a sampler."""
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


@lru_cache(maxsize=4)
def shared(training_key: tuple[str, str, int, Protocol]) -> tuple[Surface, dict[str, SyntheticSet]]:
    source, name, seed, protocol = training_key
    found = surface(source, name, protocol.size)
    space = protocol.space()
    excluded = families_of(get_method(METHOD), space)
    made = {}
    for batch in found.batches:
        data = found.data(batch, seed)
        generator = torch.Generator().manual_seed(stream_seed(seed, SYNTHETIC_STREAM))
        made[batch] = build_synthetic(
            data.held_out,
            data.test,
            generator,
            limit=protocol.synthetic,
            exclude=excluded,
            normals=data.train,
        )
    return found, made


def train(training: Training) -> Record:
    """Train one trial and keep what it says of every batch of its surface."""
    torch.set_num_threads(1)
    protocol, seed = training.protocol, training.seed
    found, synthetic = shared((training.source, training.name, seed, protocol))
    space, method = protocol.space(), get_method(METHOD)
    values = draw(space, training.surface, seed, training.trial)
    if training.point is not None:
        values = space.complete(training.point)
    data = {batch: found.data(batch, seed) for batch in found.batches}
    first = next(iter(data.values()))
    context = Context(
        seed=stream_seed(seed, training.trial),
        rungs=protocol.rungs,
        precision=protocol.precision,
        channels_last=True,
    )
    corrupting = context.generator(CORRUPTION_STREAM)
    count = min(EMBEDDED_IMAGES, len(first.train))
    clean, corrupted = method.corrupt(first, values, count, corrupting)
    criteria = [get_criterion(name) for name in criterion_names()]
    values_at: dict[str, list[np.ndarray]] = {batch: [] for batch in data}
    kept: dict[str, Evidence] = {}
    spent, mark = 0.0, time.process_time()
    for progress in method.fit(first, values, context):
        spent += time.process_time() - mark
        for batch, own in data.items():
            kept[batch] = gather_evidence(
                progress.detector,
                clean,
                corrupted,
                held_out=own.held_out,
                test=own.test,
                synthetic=synthetic[batch],
                grid=space.grid,
            )
            rows = [c.evaluate(kept[batch]).numpy() for c in criteria]
            values_at[batch].append(np.stack(rows).astype(np.float32))
        mark = time.process_time()
    for batch, evidence in kept.items():
        folder = study_folder(Path(training.folder), training.surface, batch, seed)
        arrays = {name: getattr(evidence, name).float().numpy() for name in _OF_TRIALS}
        arrays["rungs"] = np.stack(values_at[batch])
        _write_shared(folder, evidence, found.batches[batch].anomalous, space.default_setting)
        write_arrays(folder / f"trial_{training.trial:02d}.npz", arrays)
    return {
        "train_seconds": round(spent, 3),
        "hyperparameters": {name: values[name] for name in space.drawn},
    }


def _write_shared(folder: Path, evidence: Evidence, anomalous: np.ndarray, default: int) -> None:
    if (folder / "truth.npz").is_file():
        return
    fields = [f.name for f in dataclasses.fields(Evidence) if f.name not in _OF_TRIALS]
    values = {name: getattr(evidence, name) for name in fields}
    arrays = {name: np.asarray(value) for name, value in values.items() if value is not None}
    arrays |= {"default_setting": np.asarray(default), "criteria": np.array(criterion_names())}
    write_arrays(folder / "study.npz", arrays)
    write_arrays(folder / "truth.npz", {"anomalous": anomalous})


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """A file of arrays, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{os.getpid()}-{path.name}")
    np.savez_compressed(aside, **arrays)
    aside.replace(path)


@dataclass(frozen=True)
class Study:
    """All trials of one task and seed: their evidence, each criterion at each rung `[T, R, K, S]`
    under the names it had, the index of the default setting, and the truth of the batch `[M]`."""

    task: str
    seed: int
    trials: Sequence[Evidence]
    rungs: np.ndarray
    rung_criteria: Sequence[str]
    default_setting: int
    anomalous: np.ndarray


def load(folder: Path) -> Study:
    """Raises SystemExit for a folder without trials."""
    files = sorted(folder.glob("trial_*.npz"))
    if not files:
        raise SystemExit(f"{folder} holds no trial; run the pool stage first")
    shared = read_arrays(folder / "study.npz")
    own = [read_arrays(file) for file in files]
    common = {
        f.name: _field(shared[f.name]) for f in dataclasses.fields(Evidence) if f.name in shared
    }
    trials = [
        Evidence(**common, **{name: torch.from_numpy(kept[name]) for name in _OF_TRIALS})
        for kept in own
    ]
    return Study(
        task=folder.parent.name,
        seed=int(folder.name.removeprefix("seed_")),
        trials=trials,
        rungs=np.stack([kept["rungs"] for kept in own]),
        rung_criteria=shared["criteria"].tolist(),
        default_setting=int(shared["default_setting"]),
        anomalous=read_arrays(folder / "truth.npz")["anomalous"],
    )


def _field(value: np.ndarray) -> Any:
    return tuple(value.tolist()) if value.dtype.kind == "U" else torch.from_numpy(value)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}
