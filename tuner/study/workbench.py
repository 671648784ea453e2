"""Everything that a study derives from its configuration before the first trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from methods.contract import Context, Detector, TrialData, stream_seed
from methods.criteria.contract import Criterion
from methods.criteria.defects import build_synthetic
from methods.criteria.registry import criterion_names, get_criterion
from methods.registry import get_method
from search_spaces.loader import load_search_space
from tuner.data import Prepared, Split, load_textures, prepare, split
from tuner.study.arrays import StudyArrays, pack_synthetic
from tuner.study.config import SPLIT_STREAM, SYNTHETIC_STREAM, StudyConfig
from tuner.study.files import TrialFiles
from tuner.study.home import Home, StudyFolder
from tuner.study.ledger import Entry, WarmPoint
from tuner.study.plan import Layout, Machine, Plan, Speed, lay_out, measure
from tuner.study.pool import Pool, gather
from tuner.study.space import MethodSpace, build_space, combinations, families_of
from tuner.study.study_level import STUDY_LEVEL, leading_criterion
from tuner.study.warm_start import find_warm_points

DEFAULT_SIZES = {"cpu": 64, "gpu": 256}


@dataclass(frozen=True)
class Workbench:
    """Data, search spaces and criteria of one study; every part follows from config and seed."""

    config: StudyConfig
    machine: Machine
    layout: Layout
    prepared: Prepared
    parts: Split
    spaces: tuple[MethodSpace, ...]
    objectives: tuple[Criterion, ...]
    textures: np.ndarray | None
    warm: tuple[WarmPoint, ...] = ()

    @cached_property
    def data(self) -> TrialData:
        pool = None if self.textures is None else torch.from_numpy(self.textures)
        return TrialData(
            torch.from_numpy(self.parts.train),
            torch.from_numpy(self.parts.held_out),
            torch.from_numpy(self.parts.test),
            pool,
        )

    @cached_property
    def arrays(self) -> StudyArrays:
        """The arrays that all trials share, the synthetic set among them."""
        families = frozenset[str]().union(
            *(families_of(get_method(space.method), space) for space in self.spaces)
        )
        generator = torch.Generator().manual_seed(stream_seed(self.config.seed, SYNTHETIC_STREAM))
        synthetic = build_synthetic(
            self.data.held_out,
            self.data.test,
            generator,
            exclude=families,
            normals=self.data.train,
        )
        return StudyArrays(
            self.parts.train,
            self.parts.held_out,
            self.parts.test,
            pack_synthetic(synthetic),
            self.textures,
        )

    def space(self, method: str) -> MethodSpace:
        return next(space for space in self.spaces if space.method == method)

    def plan(self, home: Home) -> Plan:
        """Measures the machine (seconds), so that the plan can say what to expect."""
        return Plan(
            config=self.config,
            machine=self.machine,
            layout=self.layout,
            speeds={space.method: self._measure(space, home) for space in self.spaces},
            spaces=self.spaces,
            counts={
                "train": len(self.parts.train),
                "held_out": len(self.parts.held_out),
                "test": len(self.parts.test),
            },
            size=self.data.size,
        )

    def pool(self, entries: Sequence[Entry], folder: StudyFolder) -> Pool:
        """The judged trials side by side, under every criterion."""
        return gather(entries, folder.trial, [get_criterion(name) for name in self.criteria])

    def _measure(self, space: MethodSpace, home: Home) -> Speed:
        """On this machine, or on a node of the cluster where only those have GPUs."""
        asked = (self.config, space, self.data, self.layout, home.precision)
        if not self.layout.gpus or torch.cuda.is_available():
            return measure(*asked)
        from tuner.study.engine_ray import elsewhere, resources_of

        speed: Speed = elsewhere(resources_of(self.layout, self.config.address), measure, *asked)
        return speed

    @property
    def criteria(self) -> list[str]:
        """Every registered criterion; all of them are tracked, whichever leads."""
        names = [objective.name for objective in self.objectives]
        return names + [name for name in criterion_names() if name not in names]


def set_up(
    config: StudyConfig, home: Home, progress: Callable[[int, int], None] | None = None
) -> Workbench:
    """Validate a configuration and prepare its data.

    Raises ValueError (DataError and SearchSpaceError among them) before anything is trained.
    """
    machine = Machine.of(config)
    layout = lay_out(config, machine)
    objectives = _objectives(config)
    spaces = tuple(_space(config, name, machine) for name in config.methods)
    warm = find_warm_points(config, home, spaces)
    size = config.size or (DEFAULT_SIZES[machine.preset],) * 2
    prepared = prepare(
        config.data, config.category, size, home.cache, progress=progress, recipe=config.recipe
    )
    parts = split(prepared, stream_seed(config.seed, SPLIT_STREAM) % 2**32, config.held_out)
    pool = load_textures(Path(config.textures), size) if config.textures else None
    bench = Workbench(config, machine, layout, prepared, parts, spaces, objectives, pool, warm)
    context = Context(rungs=config.rungs, world_size=layout.workers)
    for space in spaces:
        for values in combinations(space):
            context.check(values)
            get_method(space.method).check(bench.data, values)
    return bench


def _objectives(config: StudyConfig) -> tuple[Criterion, ...]:
    leading = leading_criterion(config)
    if config.objective == "single":
        return (leading,)
    if config.criterion in STUDY_LEVEL:
        raise ValueError(
            f"{config.criterion} chooses one winner of a whole study, and a Pareto study wants "
            "two criteria of trials; give one of them by --criterion"
        )
    second = get_criterion(config.second_criterion)
    if second.name == leading.name:
        raise ValueError(f"a Pareto study needs two criteria, but both are {leading.name}")
    return (leading, second)


def _space(config: StudyConfig, name: str, machine: Machine) -> MethodSpace:
    method = get_method(name)
    space = load_search_space(config.space or name)
    if space.method != name:
        raise ValueError(
            f"the search space {config.space} is for {space.method}, but the method is {name}"
        )
    return build_space(method, space, machine.preset, _pins_of(config.pins, name))


def _pins_of(pins: Mapping[str, object], method: str) -> dict[str, object]:
    """`steps` goes to every method, `fae.steps` to one."""
    own = {}
    for name, value in pins.items():
        head, _, tail = name.rpartition(".")
        if head in ("", method):
            own[tail] = value
    return own


def restore(bench: Workbench, entry: Entry, folder: StudyFolder) -> Detector:
    """The detector of a trial as it was at its last rung."""
    weights = TrialFiles(folder.trial(entry.number)).weights()
    hyperparameters = bench.space(entry.method).complete(entry.point)
    return get_method(entry.method).restore(hyperparameters, weights)
