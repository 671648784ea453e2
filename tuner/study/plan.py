"""What a study will do on this machine, and how long that may take."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from methods.contract import (
    Context,
    Detector,
    FeatureMethod,
    Method,
    Precision,
    TrialData,
    TuningMethod,
    unit,
)
from methods.hyperparameter import Value
from methods.registry import get_method
from tuner.limits import memory, processors
from tuner.study.budget import Budget
from tuner.study.config import AUTO, StudyConfig
from tuner.study.replicates import FEWEST_TRIALS, USUAL
from tuner.study.space import MethodSpace
from tuner.study.study_level import leading_criterion

PROBE_STEPS = 6
PROBE_SECONDS = 10.0
"""What measuring may take, all methods together; a step that was begun is ended."""

# A probe's images: fewer, and on a processor smaller ones. What they take grows with both.
_PROBE_IMAGES = 24
_PROBE_SIDE = 128
_JUDGED_IMAGES = 8
# Images that are judged beside the batch and the held-out normals: pasted defects, and noise.
_PASTED_IMAGES = 144

CLEARLY_FASTER = 1.2
# Seconds of a start without Ray, and with it; of the end of a study (package, pictures, registry,
# audit, report), beside so many judgements; and how much longer a trial takes than is measured.
_LOCAL_SECONDS, _RAY_SECONDS = 4.0, 15.0
_ENDING_SECONDS, _ENDING_JUDGEMENTS = 30.0, 2.0
_OVERHEAD = 1.15
# Bytes that the process of a small trial takes, and the driver with Ray beside it.
TRIAL_MEMORY = 0.75 * 2**30
REST_MEMORY = 1.25 * 2**30


@dataclass(frozen=True)
class Machine:
    """What trials may use."""

    processors: int
    gpus: int
    name: str
    memory: float = math.inf

    @classmethod
    def here(cls) -> Machine:
        """The processors and the bytes of memory that this process may use, and the GPUs that torch
        sees."""
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        name = torch.cuda.get_device_name(0) if gpus else "CPU"
        return cls(processors(), gpus, name, memory())

    @classmethod
    def of(cls, config: StudyConfig) -> Machine:
        """This machine; with `--address`, GPUs that it lacks itself are those of the cluster."""
        here = cls.here()
        if here.gpus or not (config.address and config.gpus_per_worker):
            return here
        asked = (config.parallel or 1) * config.workers_per_trial * config.gpus_per_worker
        return cls(here.processors, math.ceil(asked), "GPUs of the cluster", here.memory)

    @property
    def preset(self) -> str:
        return "gpu" if self.gpus else "cpu"


@dataclass(frozen=True)
class Layout:
    """How trials share a machine."""

    parallel: int
    workers: int
    cpus: float
    gpus: float
    in_workers: bool

    @property
    def device_rate(self) -> float:
        """Device seconds that a trial is charged for each second that it runs."""
        return self.workers * (self.gpus if self.gpus else self.cpus)


def lay_out(config: StudyConfig, machine: Machine) -> Layout:
    """Derive parallel trials and their resources; raises ValueError for more than there is."""
    workers = config.workers_per_trial
    gpus = config.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if machine.gpus else 0.0
    if gpus and not machine.gpus and not config.address:
        raise ValueError(
            f"gpus_per_worker is {gpus:g}, but torch sees no GPU on this machine; "
            "use --gpus-per-worker 0"
        )
    budget = Budget.parse(config.budget)
    if budget.device == "gpu" and not gpus:
        raise ValueError(
            f"budget is {config.budget!r}, but no trial uses a GPU; give trials, wall time or cpuh"
        )
    wanted = config.replicates or 0
    if budget.kind == "trials" and wanted >= budget.amount:
        raise ValueError(
            f"replicates is {wanted}, but must be fewer than the {budget}; lower --replicates or "
            "raise --budget"
        )
    if gpus:
        slots = max(1, int(machine.gpus / gpus) // workers)
        cpus = config.cpus_per_worker or max(1.0, machine.processors // max(1, slots * workers))
    else:
        cpus = config.cpus_per_worker or 1.0
        slots = max(1, int(machine.processors / cpus) // workers)
    if not config.address:
        # More trials than memory bears would be killed one after the other.
        borne = (machine.memory - REST_MEMORY) / (TRIAL_MEMORY * workers)
        slots = max(1, int(min(slots, borne)))
    if not config.address and workers * cpus > machine.processors:
        raise ValueError(
            f"a trial wants {workers} workers of {cpus:g} processors, but this machine has "
            f"{machine.processors}; lower --workers-per-trial or --cpus-per-worker"
        )
    if config.trainer == "inline" and workers > 1:
        raise ValueError("--trainer inline runs one worker; use --trainer workers for more")
    if config.engine == "local":
        if workers > 1 or config.trainer == "workers" or config.parallel not in (None, 1):
            raise ValueError("--engine local runs one trial at a time, without workers; use ray")
        return Layout(1, 1, config.cpus_per_worker or float(machine.processors), gpus, False)
    in_workers = config.trainer == "workers" or (
        config.trainer == "auto" and (workers > 1 or gpus > 0)
    )
    return Layout(config.parallel or slots, workers, cpus, gpus, in_workers)


@dataclass(frozen=True)
class Speed:
    """Seconds of one training step by number format, measured; the format to use, the seconds that
    a trial takes in it before its first step, and those that a rung takes to be judged."""

    seconds: Mapping[str, float]
    precision: Precision
    channels_last: bool
    setup: float = 0.0
    judging: float = 0.0

    @property
    def step(self) -> float:
        return self.seconds[label(self.precision, self.channels_last)]

    @property
    def gain(self) -> float:
        """How many times faster than plain float32."""
        plain = self.seconds.get(label("float32", False), self.seconds[label("float32", True)])
        return plain / self.step


def label(precision: str, channels_last: bool) -> str:
    return precision + (", channels last" if channels_last else "")


def measure(  # noqa: PLR0917
    config: StudyConfig,
    space: MethodSpace,
    data: TrialData,
    layout: Layout,
    kept: Path,
    patience: float = PROBE_SECONDS,
) -> Speed:
    """Time real training steps of a method's defaults in each number format, and choose.

    The memory layout is always channels last. With `--precision auto`, bfloat16 is chosen where it
    is clearly faster, and the choice is written to the file `kept`: a later study of the same kind
    on this machine makes the same one, however busy the machine is then. A self-tuning method is
    timed in float32 alone, and runs in it. Few images of a part of their size are trained on, and
    what they take is scaled up; formats for which `patience` seconds leave no time are not tried.
    """
    method = get_method(space.method)
    device = torch.device("cuda" if layout.gpus else "cpu")
    probed = _part(data, device)
    area = math.prod(data.size) / math.prod(probed.size)
    hyperparameters = space.complete(space.defaults)
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(layout.cpus)))
    variants: list[tuple[Precision, bool]] = [("float32", True), ("bfloat16", True)]
    if not isinstance(method, FeatureMethod):
        # A frozen network knows one memory layout.
        variants.append(("float32", False))
    fixed = isinstance(method, TuningMethod)
    if fixed:
        variants.remove(("bfloat16", True))
    found: dict[str, _Timed] = {}
    began = time.perf_counter()
    try:
        for precision, channels_last in variants:
            left = patience - (time.perf_counter() - began)
            steps = PROBE_STEPS
            if found:
                # As long as the first one, which nothing was known of.
                last = found[label("float32", True)]
                steps = min(steps, int((left - last.setup) / (2 * max(last.step, 1e-9))))
                if steps < 1:
                    break
            context = Context(
                rungs=2, device=device, precision=precision, channels_last=channels_last
            )
            found[label(precision, channels_last)] = _timed(
                method, probed, hyperparameters, context, steps, patience / 2
            )
        scored = _scoring_seconds(found[label("float32", True)].detector, probed, space)
    finally:
        torch.set_num_threads(threads)
    seconds = {name: timed.step * area for name, timed in found.items()}
    plain, halved = label("float32", True), label("bfloat16", True)
    chosen: Precision = "float32"
    if not fixed and config.precision != "auto":
        chosen = config.precision
    elif not fixed:
        key = f"{space.method} {data.size[0]}x{data.size[1]} {device.type} {layout.cpus:g}"
        gain = seconds[plain] / seconds[halved] if halved in seconds else None
        chosen = _remembered(kept, key, gain)
    seconds.setdefault(label(chosen, True), seconds[plain])
    setup = found.get(label(chosen, True), found[plain]).setup
    images = len(data.test) + len(data.held_out) + _PASTED_IMAGES
    return Speed(
        seconds,
        chosen,
        True,
        setup * area * len(data.train) / len(probed.train),
        scored * area * images,
    )


def _part(data: TrialData, device: torch.device) -> TrialData:
    """A few images of each set, and of large ones, on a processor, a corner."""
    sides = data.size if device.type == "cuda" else tuple(min(s, _PROBE_SIDE) for s in data.size)

    def some(images: Tensor) -> Tensor:
        return images[:_PROBE_IMAGES, :, : sides[0], : sides[1]].contiguous()

    textures = None if data.textures is None else some(data.textures)
    return TrialData(some(data.train), some(data.held_out), some(data.test), textures).to(device)


@dataclass(frozen=True)
class _Timed:
    """Seconds before the first step, and of a step; the detector at the end."""

    setup: float
    step: float
    detector: Detector


def _timed(  # noqa: PLR0917
    method: Method,
    data: TrialData,
    hyperparameters: Mapping[str, Value],
    context: Context,
    steps: int,
    patience: float,
) -> _Timed:
    """Times `steps` steps after as many that warm up; one after one where a step is so slow that
    they would take more than `patience` seconds."""
    if "steps" not in hyperparameters:
        # A method without steps is all set-up.
        began = time.perf_counter()
        *_, last = method.fit(data, hyperparameters, context)
        return _Timed(time.perf_counter() - began, 0.0, last.detector)
    setup, step, detector = _two_rungs(method, data, hyperparameters, context, 1)
    if steps > 1 and setup + 2 * steps * step <= patience:
        setup, step, detector = _two_rungs(method, data, hyperparameters, context, steps)
    return _Timed(setup, step, detector)


def _two_rungs(
    method: Method,
    data: TrialData,
    hyperparameters: Mapping[str, Value],
    context: Context,
    steps: int,
) -> tuple[float, float, Detector]:
    """Seconds before the first step, and of a step between the first rung and the second, so that
    the warm-up does not count; `steps` lead to each."""
    iterator = iter(method.fit(data, {**hyperparameters, "steps": 2 * steps}, context))
    began = time.perf_counter()
    next(iterator)
    middle = time.perf_counter()
    last = next(iterator)
    step = (time.perf_counter() - middle) / steps
    return max(0.0, middle - began - steps * step), step, last.detector


def _scoring_seconds(detector: Detector, data: TrialData, space: MethodSpace) -> float:
    """Seconds that scoring an image under every setting of the grid takes."""
    images = unit(data.test[:_JUDGED_IMAGES])
    began = time.perf_counter()
    with torch.no_grad():
        detector.grid_scores(images, space.grid)
    return (time.perf_counter() - began) / len(images)


def duration(seconds: float) -> str:
    """A time as people say it: `40 s`, `3 min`, `1.5 h`."""
    if seconds < 90:
        return f"{max(10, 10 * round(seconds / 10))} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def demand_memory(method: str, each: int, at_once: int, there: float) -> None:
    """Raise ValueError where trials hold more features than there is memory for."""
    needed = each * at_once + REST_MEMORY
    if each and needed > there:
        raise ValueError(
            f"{at_once} trials of {method} at once hold {each / 2**30:.1f} GiB of features each, "
            f"which with the rest needs {needed / 2**30:.1f} GiB, but there are "
            f"{there / 2**30:.1f} GiB; lower --set corrupted_versions, --parallel or --size"
        )


def _remembered(kept: Path, key: str, gain: float | None) -> Precision:
    """The choice made for `key` before, else that of the gain in speed that bfloat16 was measured
    to have, which is kept; float32 where nothing was measured. A file that is damaged is replaced:
    what it said can be measured again."""
    try:
        known = json.loads(kept.read_bytes())
    except (OSError, ValueError):
        known = {}
    choice: Precision | None = known.get(key) if isinstance(known, dict) else None
    if choice in ("float32", "bfloat16"):
        return choice
    if gain is None:
        return "float32"
    found: Precision = "bfloat16" if gain >= CLEARLY_FASTER else "float32"
    known = known if isinstance(known, dict) else {}
    kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = kept.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({**known, key: found}, indent=2) + "\n")
    temporary.replace(kept)
    return found


def stopping_share(rungs: int, reduction: int, early_stopping: bool) -> float:
    """Expected share of a full trial's steps when successive halving stops the weak."""
    if not early_stopping:
        return 1.0
    share, alive, done = 0.0, 1.0, 0
    station = 1
    while station < rungs:
        share += alive * (station - done)
        alive, done, station = alive / reduction, station, station * reduction
    return (share + alive * (rungs - done)) / rungs


def _steps(space: MethodSpace) -> int:
    return int(space.fixed.get("steps", 0))


def _trained(space: MethodSpace) -> str:
    return f"{_steps(space)} steps" if _steps(space) else "nothing is trained"


def _settings(space: MethodSpace) -> str:
    return f"{len(space.grid)} settings"


def _precise(speed: Speed) -> str:
    text = f"{label(speed.precision, speed.channels_last)}: {1e3 * speed.step:.0f} ms a step"
    gain = f", {speed.gain:.1f} times as fast as plain float32"
    return text + (gain if speed.gain >= 1.05 else "")


@dataclass(frozen=True)
class Plan:
    """Everything about a study that is derived before its first trial."""

    config: StudyConfig
    machine: Machine
    layout: Layout
    speeds: Mapping[str, Speed]
    spaces: Sequence[MethodSpace]
    counts: Mapping[str, int]
    size: tuple[int, int]
    networks: Mapping[str, str] = field(default_factory=dict)
    feature_bytes: int = 0

    @property
    def sampled(self) -> list[MethodSpace]:
        """Spaces that trials are drawn from."""
        return [space for space in self.spaces if not space.control]

    @property
    def budget(self) -> Budget:
        return Budget.parse(self.config.budget)

    @property
    def early_stopping(self) -> bool:
        return self.config.early_stopping and self.config.objective == "single"

    @property
    def precisions(self) -> dict[str, Precision]:
        """The number format of each method."""
        return {method: speed.precision for method, speed in self.speeds.items()}

    @property
    def trial_seconds(self) -> float:
        """What a trial is expected to take, as if every method had the same share of the trials."""
        share = stopping_share(self.config.rungs, self.config.reduction, self.early_stopping)
        found = [
            speed.setup + share * (speed.step * _steps(space) + speed.judging * self.config.rungs)
            for space in self.sampled
            for speed in (self.speeds[space.method],)
        ]
        return _OVERHEAD * sum(found) / len(found)

    @property
    def starting_seconds(self) -> float:
        """What passes before the first trial."""
        return _RAY_SECONDS if self.config.engine == "ray" else _LOCAL_SECONDS

    @property
    def ending_seconds(self) -> float:
        """What packaging, registering, the audit and the report take when all trials have ended."""
        scoring = max(self.speeds[space.method].judging for space in self.sampled)
        return _ENDING_SECONDS + _ENDING_JUDGEMENTS * scoring

    def expected(self) -> tuple[float, float]:
        """Expected (trials, wall seconds), the start and the end of the study among them."""
        budget, layout, trial = self.budget, self.layout, self.trial_seconds
        around = self.starting_seconds + self.ending_seconds
        if budget.kind == "trials":
            # The last ones run beside empty places.
            rounds = max(math.ceil(budget.amount / layout.parallel), 1)
            return budget.amount, rounds * trial + around
        if budget.kind == "seconds":
            trials = max(1.0, budget.amount * layout.parallel / trial)
            return trials, budget.amount + trial / 2 + around
        trials = max(1.0, budget.amount / (trial * layout.device_rate))
        return trials, trials * trial / layout.parallel + around

    def lines(self) -> list[tuple[str, str]]:
        """The plan in words: pairs of a subject and what is planned."""
        config, layout = self.config, self.layout
        place = "in the trial's own process"
        if layout.in_workers:
            place = f"by Ray Train in {layout.workers} worker{'s' * (layout.workers > 1)}"
        each = f"{layout.cpus:g} processor{'s' * (layout.cpus != 1)}"
        each += f" and {layout.gpus:g} GPU" if layout.gpus else ""
        stopping = "no early stopping"
        if self.early_stopping:
            stopping = f"1 in {config.reduction} goes on at each (successive halving)"
        second = f" and {config.second_criterion}" if config.objective == "pareto" else ""
        return [
            (
                "images",
                f"{self.counts['train']} normal to train on, {self.counts['held_out']} normal held "
                f"out, {self.counts['test']} unlabelled, {self.size[0]} x {self.size[1]} px",
            ),
            ("method", ", ".join(space.method for space in self.sampled)),
            *self._features(),
            ("criterion", self._criterion() + second),
            ("budget", self._spending()),
            ("trials", f"{layout.parallel} at once, {each} each, trained {place}"),
            ("training", f"{self._each(_trained)}, {config.rungs} rungs, {stopping}"),
            ("precision", self._each(lambda space: _precise(self.speeds[space.method]))),
            *self._siblings(),
            *([("warm start", f"the best of {config.warm_start} first")] * bool(config.warm_start)),
            *self._replicates(),
            *self._winner(),
            ("drawn", self._each(lambda space: ", ".join(space.drawn))),
            ("scoring", f"{self._each(_settings)} judged at each rung, none retrained"),
        ]

    def _winner(self) -> list[tuple[str, str]]:
        """What is registered, where it is more than one trial."""
        size = self.config.ensemble
        if size != AUTO:
            return [("winner", f"the best {size}, as one model")] if size else []
        compared = sorted({space.each for space in self.spaces if space.starts})
        text = f"the best trial at each {' and '.join(compared)}, as one model"
        return [("winner", text)] if compared else []

    def _spending(self) -> str:
        trials, seconds = self.expected()
        some = "" if self.budget.kind == "trials" else f"about {trials:.0f} trials, "
        return f"{self.budget}: {some}about {duration(seconds)} in all"

    def _each(self, say: Callable[[MethodSpace], str]) -> str:
        """What is to be said of every method, with its name where there are several."""
        if len(self.sampled) == 1:
            return say(self.sampled[0])
        return "; ".join(f"{space.method}: {say(space)}" for space in self.sampled)

    def _features(self) -> list[tuple[str, str]]:
        """Frozen networks, what their features take, and the method that trains nothing."""
        if not self.networks:
            return []
        named = ", ".join(f"{name} ({digest[:12]})" for name, digest in self.networks.items())
        said = f"of {named}, frozen; a trial holds {self.feature_bytes / 2**20:.0f} MB of them"
        controls = [space.method for space in self.spaces if space.control]
        return [
            ("features", said),
            *([("control", f"{', '.join(controls)}, which trains nothing")] * bool(controls)),
        ]

    def _criterion(self) -> str:
        leading = leading_criterion(self.config).name
        if leading == self.config.criterion:
            return leading
        return f"{leading} at rungs; {self.config.criterion} of all trials selects"

    def _siblings(self) -> list[tuple[str, str]]:
        """Methods that begin their default trial from several initial values."""
        return [
            (
                "siblings",
                f"{1 + len(space.siblings)} initial values of {space.method}'s defaults, a trial"
                " each, never stopped early and chosen among by score variance",
            )
            for space in self.spaces
            if space.siblings
        ]

    def _replicates(self) -> list[tuple[str, str]]:
        """Trials that repeat the best ones."""
        wanted, budget = self.config.replicates, self.budget
        if wanted == 0 or (
            wanted is None and budget.kind == "trials" and budget.amount < FEWEST_TRIALS
        ):
            return []
        condition = "" if wanted or budget.kind == "trials" else f", from {FEWEST_TRIALS} trials on"
        said = f"the last {wanted or USUAL} repeat the best with another seed{condition}"
        return [("replicates", said)]

    def as_dict(self) -> dict[str, object]:
        trials, seconds = self.expected()
        return {
            **dict(self.lines()),
            "expected_trials": round(trials),
            "expected_seconds": round(seconds),
        }
