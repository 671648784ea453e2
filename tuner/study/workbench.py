"""Everything that a study derives from its configuration before the first trial."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from methods.backbones.table import FeatureTable
from methods.contract import (
    Context,
    Detector,
    FeatureMethod,
    FrozenNetwork,
    Precision,
    TrialData,
    stream_seed,
    unit,
)
from methods.criteria.contract import Criterion
from methods.criteria.defects import build_synthetic
from methods.criteria.reference import in_spreads
from methods.criteria.registry import criterion_names, get_criterion
from methods.hyperparameter import Value
from methods.registry import get_method
from methods.scoring.normalisation import left_out
from search_spaces.loader import Choice, load_search_space
from tuner.data import Prepared, Split, load_textures, prepare, split
from tuner.data.splitting import cautions
from tuner.study.arrays import StudyArrays, pack_synthetic
from tuner.study.config import CONTROL, SPLIT_STREAM, SYNTHETIC_STREAM, StudyConfig
from tuner.study.files import TrialFiles
from tuner.study.home import Home, StudyFolder
from tuner.study.ledger import Entry, WarmPoint
from tuner.study.plan import (
    PROBE_SECONDS,
    Layout,
    Machine,
    Plan,
    Speed,
    demand_memory,
    lay_out,
    measure,
)
from tuner.study.pool import Pool, gather
from tuner.study.space import MethodSpace, build_space, combinations, families_of
from tuner.study.study_level import STUDY_LEVEL, leading_criterion
from tuner.study.warm_start import find_warm_points

DEFAULT_SIZES = {"cpu": 64, "gpu": 256}
# Methods on features of a frozen network take larger images, which they may look at reduced.
FEATURE_SIZES = {"cpu": 192, "gpu": 256}
# What features of a frozen network depend on, beside the image.
SCALE = "scale"
SEEN = ("backbone", "levels", SCALE)


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

    def with_features(self, precisions: Mapping[str, Precision]) -> StudyArrays:
        """`arrays`, with what the frozen networks of the study's methods say of every image: each
        network and each of its sets of levels once, in the number format of the method."""
        images = [torch.from_numpy(part) for part in (self.parts.train, self.parts.held_out)]
        images += [torch.from_numpy(self.parts.test)]
        images += [torch.from_numpy(self.arrays.synthetic["images"])]
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        tables: list[FeatureTable] = []
        for space in self.spaces:
            method = get_method(space.method)
            if not isinstance(method, FeatureMethod):
                continue
            context = Context(device=device, precision=precisions.get(space.method, "float32"))
            for values in backed(space):
                network = method.backbone(values)
                seen = (network.digest, network.strides, float(values["scale"]))
                if not any(table.serves(*seen) for table in tables):
                    tables.append(method.tabulate(values, images, context))
        return self._with_reference(self.arrays.with_features(tables))

    def _with_reference(self, arrays: StudyArrays) -> StudyArrays:
        """The same, with what a memory of the study's features says of the batch and of pasted
        defects: the reference of criteria. Without features there is none."""
        controls = [space for space in self.spaces if space.method == CONTROL]
        if not arrays.features or not controls:
            return arrays
        space, data = controls[0], arrays.trial_data()
        method, pasted = get_method(space.method), torch.from_numpy(arrays.synthetic["images"])
        assert isinstance(method, FeatureMethod)
        own = method.backbone(space.complete(space.defaults))
        tables = [t for t in data.features if t.serves(own.digest, own.strides, t.scale)]
        scales = sorted({table.scale for table in tables})
        scores = reference_of(data, pasted, space, self.config.seed, scales)
        return dataclasses.replace(arrays, synthetic={**arrays.synthetic, **scores})

    @cached_property
    def backbones(self) -> dict[str, FrozenNetwork]:
        """The frozen networks of the study's methods by name."""
        found: dict[str, FrozenNetwork] = {}
        for space in self.spaces:
            method = get_method(space.method)
            if isinstance(method, FeatureMethod):
                for values in backed(space):
                    network = method.backbone(values)
                    found[network.name] = network
        return found

    @property
    def cautions(self) -> list[str]:
        """What to warn of before anything is trained, beside what the data say themselves."""
        config, images = self.config, (len(self.prepared.train), len(self.prepared.test))
        # An extrapolated threshold supports any rate.
        rate = config.false_positive_rate if config.threshold == "quantile" else 1.0
        return cautions(*images, config.held_out, rate)

    def space(self, method: str) -> MethodSpace:
        return next(space for space in self.spaces if space.method == method)

    def plan(self, home: Home) -> Plan:
        """Measures the machine (seconds), so that the plan can say what to expect.

        Raises ValueError before that where features need more memory than there is.
        """
        feature_bytes = self._feature_bytes()
        return Plan(
            config=self.config,
            machine=self.machine,
            layout=self.layout,
            speeds={
                space.method: self._measure(space, home)
                for space in self.spaces
                if not space.control
            },
            spaces=self.spaces,
            counts={
                "train": len(self.parts.train),
                "held_out": len(self.parts.held_out),
                "test": len(self.parts.test),
            },
            size=self.data.size,
            networks={name: network.digest for name, network in self.backbones.items()},
            feature_bytes=feature_bytes,
        )

    def _feature_bytes(self) -> int:
        """Memory of features that the largest trial of the study holds for itself. Raises
        ValueError where the machine has less than all trials at once need."""
        largest, owner = 0, ""
        for space in self.spaces:
            method = get_method(space.method)
            if isinstance(method, FeatureMethod):
                needed = max(method.trial_bytes(self.data, values) for values in space.variants())
                largest, owner = max((largest, owner), (needed, space.method))
        at_once = self.layout.parallel if not self.config.address else 1
        demand_memory(owner, largest, at_once, self.machine.memory)
        return largest

    def pool(self, entries: Sequence[Entry], folder: StudyFolder) -> Pool:
        """The judged trials side by side, under every criterion."""
        return gather(entries, folder.trial, [get_criterion(name) for name in self.criteria])

    def _measure(self, space: MethodSpace, home: Home) -> Speed:
        """On this machine, or on a node of the cluster where only those have GPUs."""
        patience = PROBE_SECONDS / len(self.config.methods)
        asked = (self.config, space, self.data, self.layout, home.precision, patience)
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
    backed_too = any(isinstance(get_method(name), FeatureMethod) for name in config.methods)
    sizes = FEATURE_SIZES if backed_too else DEFAULT_SIZES
    size = config.size or (sizes[machine.preset],) * 2
    prepared = prepare(
        config.data, config.category, size, home.cache, progress=progress, recipe=config.recipe
    )
    parts = split(prepared, stream_seed(config.seed, SPLIT_STREAM) % 2**32, config.held_out)
    pool = load_textures(Path(config.textures), size) if config.textures else None
    bench = Workbench(config, machine, layout, prepared, parts, spaces, objectives, pool, warm)
    spaces = tuple(_seen_at(space, bench.data) for space in spaces)
    spaces += _controls(config, spaces, machine)
    bench = dataclasses.replace(bench, spaces=spaces)
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
    space = load_search_space(config.space or name).as_begun(config.edition)
    if space.method != name:
        raise ValueError(
            f"the search space {config.space} is for {space.method}, but the method is {name}"
        )
    return build_space(method, space, machine.preset, _pins_of(config.pins, name))


def _seen_at(space: MethodSpace, data: TrialData) -> MethodSpace:
    """The space without the scales at which the network would see too little of such images, where
    others are left."""
    method, choice = get_method(space.method), space.drawn.get(SCALE)
    if not isinstance(method, FeatureMethod) or not isinstance(choice, Choice):
        return space
    fits = tuple(v for v in choice.values if method.resolves(data, {**space.defaults, SCALE: v}))
    if not fits or len(fits) == len(choice.values):
        return space
    default = space.defaults[SCALE] if space.defaults[SCALE] in fits else fits[-1]
    return dataclasses.replace(
        space,
        drawn={**space.drawn, SCALE: Choice(fits)},
        defaults={**space.defaults, SCALE: default},
    )


def _controls(
    config: StudyConfig, spaces: Sequence[MethodSpace], machine: Machine
) -> tuple[MethodSpace, ...]:
    """Methods that train nothing and stand beside those that they share a frozen network with."""
    backed_spaces = [s for s in spaces if isinstance(get_method(s.method), FeatureMethod)]
    if not backed_spaces or CONTROL in config.methods:
        return ()
    values = backed_spaces[0].complete(backed_spaces[0].defaults)
    pins = {name: values[name] for name in SEEN}
    built = build_space(get_method(CONTROL), load_search_space(CONTROL), machine.preset, pins)
    fixed = {**built.fixed, **built.defaults}
    alone = dataclasses.replace(built, drawn={}, defaults={}, fixed=fixed, control=True, each="")
    return (alone,)


def reference_of(
    data: TrialData, pasted: torch.Tensor, space: MethodSpace, seed: int, scales: Sequence[float]
) -> dict[str, np.ndarray]:
    """Scores of pasted defects (`reference`) and of the batch (`test_reference`) by memories of
    normal features at their defaults, one for each of `scales`; fields of `SyntheticSet`.

    A score is the mean over memories of the distance from the held-out normals' mean score, in
    units of their spread.
    """
    method, setting = get_method(space.method), space.grid[space.default_setting]
    values, found = space.complete(space.defaults), []
    images = unit(torch.cat((pasted, data.test)))
    for scale in scales:
        context = Context(seed=seed, rungs=1)
        (last,) = method.fit(data, {**values, "scale": scale}, context)
        with left_out():
            normal = last.detector.scores(unit(data.held_out), setting)
        found.append(in_spreads(last.detector.scores(images, setting), normal))
    joint = torch.stack(found).mean(0)
    return {
        "reference": joint[: len(pasted)].numpy(),
        "test_reference": joint[len(pasted) :].numpy(),
    }


def backed(space: MethodSpace) -> list[dict[str, Value]]:
    """The hyperparameters of a space that differ in their frozen network, its levels or the scale
    at which it sees images."""
    found: dict[tuple[Value, ...], dict[str, Value]] = {}
    for values in space.variants():
        found.setdefault(tuple(values[name] for name in SEEN), values)
    return list(found.values())


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
