"""One trial, whoever runs it: trains, judges at rungs, keeps checkpoints, reports by yielding.

Knows neither Ray nor Optuna nor MLflow. The same generator runs in the trial's own process, in
every worker of a group, and in a unit test.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from methods.contract import (
    Context,
    Diverged,
    ObservedDetector,
    Precision,
    Progress,
    Scoring,
    TrialData,
    TuningMethod,
    stream_seed,
)
from methods.criteria.evidence import gather_evidence
from methods.criteria.registry import get_criterion
from methods.criteria.resampling import resampled_values
from methods.hyperparameter import Value
from methods.registry import get_method
from tuner.study.arrays import StudyArrays
from tuner.study.files import CRITERION_PREFIX, Record, TrialFiles, Unkept
from tuner.study.judge import SIBLING_CRITERION, finite, judge

SCORING_CRITERION = "referenced_synthetic_validation"
EMBEDDED_IMAGES = 64
CORRUPTION_STREAM = 0x6A
RESAMPLING_STREAM = 0x6B
RESAMPLED = 24


@dataclass(frozen=True)
class TrialSpec:
    """Everything that tells one trial from another; plain values, so that it travels.

    `after_rung` is the last rung that the ledger already holds: an interrupted trial goes on
    from there. `depot` is where its files outlive the machine, empty for nowhere. It is judged
    with the draws of `seed`, and trained with them too, unless it has a `training_seed`.
    """

    number: int
    method: str
    hyperparameters: Mapping[str, Value]
    grid: Sequence[Scoring]
    criteria: Sequence[str]
    leading: str
    seed: int
    rungs: int
    folder: str
    precision: Precision = "float32"
    channels_last: bool = False
    after_rung: int = 0
    default_setting: int = 0
    device_rate: float = 1.0
    depot: str = ""
    training_seed: int | None = None

    def own(self, template: TrialSpec) -> str:
        """Where this trial differs from a template, as text: short, for it is copied often on its
        way."""
        names = (each.name for each in dataclasses.fields(self))
        pairs = ((name, getattr(self, name), getattr(template, name)) for name in names)
        return json.dumps({name: mine for name, mine, common in pairs if mine != common})

    def become(self, own: str) -> TrialSpec:
        """The trial that `own` tells of; this one is the template."""
        return dataclasses.replace(self, **json.loads(own))


@dataclass
class Runtime:
    """Where this process stands in the trial: its device, and its rank among the workers."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    world_size: int = 1
    all_reduce: Callable[[Tensor], Tensor] | None = None


def conduct(spec: TrialSpec, arrays: StudyArrays, runtime: Runtime) -> Iterator[Record]:
    """Run a trial and yield a record at each rung that the ledger does not hold yet.

    A failure is a record too (`failed` gives its reason): it is the study's business, not the
    engine's. So is what cannot be kept for want of room (`unkept`), which is no failure. In a group
    of workers the ranks other than 0 yield bare records in step with rank 0, and errors are raised,
    so that the engine ends the whole group.
    """
    if runtime.world_size > 1:
        yield from _conduct(spec, arrays, runtime)
        return
    try:
        yield from _conduct(spec, arrays, runtime)
    except Unkept as error:
        yield {"number": spec.number, "rung": spec.after_rung, "unkept": str(error)}
    except Diverged as error:
        yield _failure(spec, f"diverged: {error}")
    except (MemoryError, torch.OutOfMemoryError) as error:
        yield _failure(spec, f"out of memory: {_first_line(error)}")
    except Exception as error:
        yield _failure(spec, f"{type(error).__name__}: {_first_line(error)}")


def _failure(spec: TrialSpec, reason: str) -> Record:
    return {"number": spec.number, "rung": spec.after_rung, "failed": reason}


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:500]


def _conduct(spec: TrialSpec, arrays: StudyArrays, runtime: Runtime) -> Iterator[Record]:
    files = TrialFiles(Path(spec.folder), spec.depot)
    if spec.after_rung:
        files.take_over()
    elif runtime.rank == 0:
        files.clear()
    checkpoint, known, loss = _kept(files, spec.after_rung)
    if loss and runtime.rank == 0:
        files.clear()
    spent = known[-1]["seconds"] if known else 0.0
    yield from (r for r in known if r["rung"] > spec.after_rung)
    data = arrays.trial_data().to(runtime.device)
    context = Context(
        seed=spec.seed if spec.training_seed is None else spec.training_seed,
        rungs=spec.rungs,
        device=runtime.device,
        precision=spec.precision,
        channels_last=spec.channels_last,
        rank=runtime.rank,
        world_size=runtime.world_size,
        all_reduce=runtime.all_reduce or (lambda tensor: tensor),
        resume=checkpoint["method"] if checkpoint else None,
    )
    method = get_method(spec.method)
    bench = Bench(spec, arrays, data, dataclasses.replace(context, seed=spec.seed))
    mark = time.perf_counter()
    training = known[-1]["train_seconds"] if known else 0.0
    for progress in method.fit(data, spec.hyperparameters, context):
        trained = time.perf_counter()
        if runtime.rank == 0:
            record, scores = bench.record(progress)
            training += trained - mark
            now = time.perf_counter()
            spent += now - mark
            record |= {
                "seconds": spent,
                "train_seconds": training,
                "device_seconds": spent * spec.device_rate,
            }
            state = {"rung": progress.rung, "method": progress.state()}
            if loss:
                record["warnings"] = [*record.get("warnings", ()), loss]
            files.keep(record, state, progress.detector.weights(), scores)
            spent += time.perf_counter() - now
        else:
            record = {"number": spec.number, "rung": progress.rung}
        # Where files were lost with their machine, rungs that the ledger holds are trained again.
        if progress.rung > spec.after_rung:
            yield record
        mark = time.perf_counter()


def _kept(files: TrialFiles, after_rung: int) -> tuple[dict[str, Any] | None, list[Record], str]:
    """What an interrupted trial goes on from: its checkpoint, the records up to that, and what was
    lost of them, in a sentence. Without a whole checkpoint it is trained again."""
    if not after_rung:
        return None, [], ""
    checkpoint, records = files.checkpoint(), files.records()
    if checkpoint is None and not records and not files.has_checkpoint:
        # Lost with its machine, which the study has survived before.
        return None, [], ""
    if checkpoint is None:
        state = "damaged" if files.has_checkpoint else "gone"
        return None, [], f"its last checkpoint was {state}: it was trained again from the start"
    known = [record for record in records if record["rung"] <= checkpoint["rung"]]
    unreported = set(range(after_rung + 1, checkpoint["rung"] + 1))
    if unreported - {record["rung"] for record in known}:
        # The ledger has not been told of that rung, and nobody can tell it any more.
        return None, [], "its records were damaged: it was trained again from the start"
    return checkpoint, known, ""


class Bench:
    """Judges the detectors of one trial on the same images at every rung."""

    def __init__(
        self, spec: TrialSpec, arrays: StudyArrays, data: TrialData, context: Context
    ) -> None:
        self.spec, self.data = spec, data
        if context.rank:
            return
        self.criteria = [get_criterion(name) for name in spec.criteria]
        self.leading = get_criterion(spec.leading)
        self.scoring = get_criterion(SCORING_CRITERION)
        self.synthetic = arrays.synthetic_set(context.device)
        self.method, self.context = get_method(spec.method), context
        self.tuning = self.method if isinstance(self.method, TuningMethod) else None
        self.clean, self.corrupted = self._corrupt(spec.hyperparameters)

    def _corrupt(self, hyperparameters: Mapping[str, Value]) -> tuple[Tensor, Tensor]:
        """Clean and corrupted training images, the same ones with the same draws every time."""
        count = min(EMBEDDED_IMAGES, len(self.data.train))
        generator = self.context.generator(CORRUPTION_STREAM)
        return self.method.corrupt(self.data, hyperparameters, count, generator)

    def record(self, progress: Progress) -> tuple[Record, dict[str, np.ndarray]]:
        corrupted = self.corrupted
        if progress.tuned and self.tuning is not None:
            learned = self.tuning.learned(self.spec.hyperparameters, progress.tuned)
            corrupted = self._corrupt(learned)[1]
        evidence = gather_evidence(
            progress.detector,
            self.clean,
            corrupted,
            held_out=self.data.held_out,
            test=self.data.test,
            synthetic=self.synthetic,
            grid=self.spec.grid,
        )
        verdict = judge(evidence, self.criteria, self.leading, self.scoring)
        # The same images are drawn in every trial: what they share cancels between two trials.
        again = resampled_values(
            self.leading,
            evidence,
            verdict.setting,
            RESAMPLED,
            torch.Generator().manual_seed(stream_seed(self.spec.seed, RESAMPLING_STREAM)),
        )
        diagnostics = dict(progress.diagnostics)
        if isinstance(progress.detector, ObservedDetector):
            diagnostics |= progress.detector.scoring_diagnostics()
        record = {
            "number": self.spec.number,
            "rung": progress.rung,
            "criteria": dict(verdict.values),
            "resampled": [finite(value) for value in again.tolist()],
            "setting": verdict.setting,
            "scoring": dict(self.spec.grid[verdict.setting]),
            "train_loss": progress.train_loss,
            "tuned": dict(progress.tuned),
            "trajectory": [[step, dict(values)] for step, values in progress.trajectory],
            "diagnostics": diagnostics,
        }
        if self.tuning is not None:
            # Siblings are compared under one scoring, whatever each was judged best by.
            spread = get_criterion(SIBLING_CRITERION).evaluate(evidence)[self.spec.default_setting]
            record |= {
                "warnings": self.tuning.warnings(progress.diagnostics),
                "comparable": self.tuning.comparable(progress.diagnostics),
                "sibling_variance": finite(float(spread)),
            }
        scores = {
            "test": evidence.test_scores.cpu().numpy().astype(np.float32),
            "held_out": evidence.held_out_scores.cpu().numpy().astype(np.float32),
            "setting": np.asarray(verdict.setting),
        }
        for name, values in verdict.by_setting.items():
            scores[CRITERION_PREFIX + name] = values.cpu().numpy().astype(np.float64)
        return record, scores
