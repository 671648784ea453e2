"""The tasks on which choosing without labels is judged: batches of surfaces, and shifted ones.

A surface is a set of normal training images; one training on it serves all its batches, since
nothing that is trained looks at a batch. A task is one batch. `DESIGN` names the tasks on which
criteria, card and defaults may be chosen; every other task is judged once, at the end.

There are the six demo surfaces, one of scikit-learn's digits as normal against all others, and,
from folders of real parts (`--data DIR CATEGORY`, MVTec AD's layout), a task for each kind of
defect. Four of these tasks come in shifted forms, too: the whole batch, good parts and bad ones,
under another light, focus or camera, or with another share of defects. Two surfaces come with
defective parts among their training images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from feature_tasks import DEMO, Task, tasks_of
from st_ssad_tasks import DIGITS, material

from tuner.data.demo.catalogue import SURFACES

# Unshifted tasks; a shifted or contaminated form belongs where its task belongs.
DESIGN = frozenset({*(f"demo {name}" for name in SURFACES), "tile break", "tile uneven"})
SHIFTED = frozenset({"demo tile", "tile break", "tile blowhole", "commutator"})
CONTAMINATED = frozenset({"demo grid", "commutator"})
CONTAMINATIONS = (0.0, 0.05)
_STREAM = 0xC401
_MOST_NORMALS, _MOST_GOOD, _MOST_BAD = 120, 100, 80


def _levels(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A change of images in [0, 1] as one of uint8."""
    return lambda images: (change(images / 255.0).clip(0, 1) * 255).round().astype(np.uint8)


def _geometry(images: np.ndarray, degrees: float, pixels: float, sigma: float = 0.0) -> np.ndarray:
    """Turned about the centre, moved, or blurred; the outside is mirrored."""
    from scipy import ndimage

    found = images.astype(np.float32)
    if degrees:
        found = ndimage.rotate(found, degrees, axes=(3, 2), reshape=False, order=1, mode="mirror")
    if pixels:
        found = ndimage.shift(found, (0, 0, pixels, -pixels), order=1, mode="mirror")
    if sigma:
        found = ndimage.gaussian_filter(found, (0, 0, sigma, sigma), mode="mirror")
    return found.round().clip(0, 255).astype(np.uint8)


_CAST = np.array([1.06, 1.0, 0.92], dtype=np.float32)[:, None, None]
SHIFTS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "darker": _levels(lambda x: 0.85 * x),
    "brighter": _levels(lambda x: 1.1 * x),
    "gamma": _levels(lambda x: x**1.25),
    "colour cast": _levels(lambda x: _CAST * x),
    "softer focus": lambda x: _geometry(x, 0, 0, 1.2),
    "turned": lambda x: _geometry(x, 3, 0),
    "moved": lambda x: _geometry(x, 0, 8),
}
SHARES = (0.05, 0.2, 0.6)


@dataclass(frozen=True)
class Surface:
    """Normal images uint8 `[N, 3, H, W]`, and batches by the name of their task."""

    normals: np.ndarray = field(repr=False)
    tasks: Mapping[str, Task] = field(repr=False)


@dataclass(frozen=True)
class Source:
    """Where a surface comes from, and the share of its training images that are defective."""

    location: str
    category: str
    contamination: float = 0.0

    @property
    def name(self) -> str:
        own = f"{self.category} of {self.location.rsplit('/', 1)[-1]}"
        return f"{own}, {self.contamination:.0%} of it bad" if self.contamination else own

    def is_design(self, task: str) -> bool:
        return task.split(", ", maxsplit=1)[0] in DESIGN


def is_design(task: str) -> bool:
    """Whether criteria and defaults may be chosen on a task; a shifted one belongs to its own."""
    return task.split(", ", maxsplit=1)[0] in DESIGN


def is_shifted(task: str) -> bool:
    """Whether its batch, or its training images, are not as they come."""
    return ", " in task


@lru_cache(maxsize=2)
def surface(source: Source, size: int) -> Surface:
    """All tasks of a source, labels within, for the judge alone."""
    found = dict(_unshifted(source, size))
    normals = next(iter(found.values())).normals
    rng = np.random.default_rng([_STREAM, *source.category.encode()])
    if source.contamination:
        found = {n: t for n, t in found.items() if n in CONTAMINATED}
        (name,) = found
        normals, task = _contaminated(found[name], source.contamination, rng)
        return Surface(normals, {f"{name}, {source.contamination:.0%} of the normals bad": task})
    for name in [name for name in found if name in SHIFTED]:
        task = found[name]
        for shift, change in SHIFTS.items():
            found[f"{name}, {shift}"] = Task(normals, change(task.batch), task.anomalous, None)
        for share in SHARES:
            found[f"{name}, {share:.0%} defects"] = _shared(task, share, rng)
    return Surface(normals, found)


def _unshifted(source: Source, size: int) -> Mapping[str, Task]:
    if source.location != DIGITS:
        return tasks_of(source.location, source.category, size)
    own = material(DIGITS, source.category, size, None)
    rng = np.random.default_rng([_STREAM, int(source.category)])
    good = rng.permutation(np.flatnonzero(own.kinds == ""))[:_MOST_GOOD]
    bad = rng.permutation(np.flatnonzero(own.kinds != ""))[:_MOST_BAD]
    chosen = rng.permutation(np.concatenate([good, bad]))
    normals = np.concatenate([own.train, own.held_out])[:_MOST_NORMALS]
    batch = own.test[chosen]
    return {f"digit {source.category}": Task(normals, batch, own.kinds[chosen] != "", None)}


def _shared(task: Task, share: float, rng: np.random.Generator) -> Task:
    """As many images of the batch as there can be with a share of defective ones."""
    good, bad = np.flatnonzero(~task.anomalous), np.flatnonzero(task.anomalous)
    total = int(min(len(good) / (1 - share), len(bad) / share))
    count = max(2, round(share * total))
    rows = (rng.permutation(good)[: total - count], rng.permutation(bad)[:count])
    chosen = rng.permutation(np.concatenate(rows))
    return Task(task.normals, task.batch[chosen], task.anomalous[chosen], None)


def _contaminated(task: Task, share: float, rng: np.random.Generator) -> tuple[np.ndarray, Task]:
    """Some bad images of the batch moved among the normal ones."""
    bad = rng.permutation(np.flatnonzero(task.anomalous))
    moved = bad[: max(1, round(share * len(task.normals)))]
    normals = task.normals.copy()
    normals[rng.permutation(len(normals))[: len(moved)]] = task.batch[moved]
    kept = np.setdiff1d(np.arange(len(task.batch)), moved)
    return normals, Task(normals, task.batch[kept], task.anomalous[kept], None)


def sources_of(data: list[tuple[str, str]]) -> list[Source]:
    """Every surface: those that any machine has, and those of folders."""
    plain = [Source(DEMO, name) for name in sorted(SURFACES)]
    plain += [Source(location, category) for location, category in data] + [Source(DIGITS, "2")]
    spoilt = [
        Source(source.location, source.category, share)
        for source in plain
        for share in CONTAMINATIONS[1:]
        if {f"demo {source.category}", source.category} & CONTAMINATED
        and (source.location == DEMO or source.category in CONTAMINATED)
    ]
    return plain + spoilt
