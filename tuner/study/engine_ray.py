"""Ray Tune as the executor of a study: thin adapters around the conductor.

Tune's own state is disposable. It proposes nothing (the ledger does), stops nothing (the ledger's
successive halving does), and a resumed study starts a new Tune experiment from the ledger.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psutil
import ray
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from tuner.limits import memory, processors
from tuner.study.arrays import StudyArrays
from tuner.study.conductor import Conductor
from tuner.study.config import RAY_VARIABLE
from tuner.study.files import Unkept
from tuner.study.group import give_back
from tuner.study.leftovers import end_leftovers, temporary_folder, watch_over
from tuner.study.plan import Layout
from tuner.study.worker import run_in_process, run_in_workers

# A trial that only waits for its workers must hold something, and every node has memory: a share of
# a processor would keep its own workers from a cluster that has just enough of them.
WAITING: dict[str, float] = {"memory": 1}

# Share of the memory that objects take, as Ray would have it, and the least it starts with.
OBJECTS, FEWEST_BYTES = 0.3, 80_000_000

# How Ray says that a process, or the machine under it, is gone or cannot be reached. Tune writes
# down the words of an error, seldom its name.
DEATHS = (
    "died unexpectedly", "local raylet died", "node has died", "is unavailable: ",
    "ActorDied", "ActorUnavailable", "NodeDied",
)  # fmt: skip
UNKEPT = f"{Unkept.__name__}: "

# Tune would send these along with each trial, and Ray's agents write what is sent into their logs.
# Processes on this machine have them anyway, and nodes of a cluster their own.
class_cache.ENV_VARS_TO_PROPAGATE -= {
    name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")
}


@dataclass(frozen=True)
class Resources:
    """What one trial takes: workers, and processors and GPUs of each."""

    parallel: int
    workers: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    in_workers: bool = False
    address: str | None = None


def resources_of(layout: Layout, address: str | None) -> Resources:
    """The resources of a study's trials."""
    return Resources(
        layout.parallel, layout.workers, layout.cpus, layout.gpus, layout.in_workers, address
    )


class _Post:
    """Finds the conductor from adapters that Ray pickles now and then."""

    conductors: ClassVar[dict[str, Conductor]] = {}


class LedgerSearcher(Searcher):
    """Asks the conductor for trials."""

    def __init__(self, key: str) -> None:
        super().__init__(metric="rung", mode="max")
        self.key = key

    def suggest(self, trial_id: str) -> Any:
        conductor = _Post.conductors[self.key]
        spec = conductor.next()
        if spec is None:
            # One that runs may be lost with its machine, and then has to be started again.
            return None if conductor.live and not conductor.closing else Searcher.FINISHED
        # Tune copies and keeps what it is told of a trial many times over.
        own = spec.own(conductor.template(spec.method))
        return {"number": spec.number, "method": spec.method, "own": own}

    def on_trial_complete(
        self, trial_id: str, result: dict | None = None, error: bool = False
    ) -> None:
        """The scheduler has told the conductor already."""
        give_back(trial_id)

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing is restored from Ray: the ledger is the truth."""


class LedgerScheduler(FIFOScheduler):
    """Hands records to the conductor and stops what it says."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        conductor = _Post.conductors[self.key]
        number = trial.config["number"]
        if number not in conductor.live:
            return self.STOP
        if "record" not in result or result.get("done"):
            conductor.end(number, "failed", "the trial ended without its last rung")
            return self.STOP
        return (
            self.CONTINUE if conductor.report(number, json.loads(result["record"])) else self.STOP
        )

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        conductor, number = _Post.conductors[self.key], trial.config["number"]
        text = error_of(trial)
        if UNKEPT in text:
            conductor.halt(number, reason_of(text))
        elif lost_process(text) and "OutOfMemory" not in text:
            conductor.lost(number, reason_of(text))
        else:
            conductor.end(number, "failed", reason_of(text))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        number = trial.config["number"]
        if number in _Post.conductors[self.key].live:
            reason = "the trial ended without its last rung"
            _Post.conductors[self.key].end(number, "failed", reason)


def error_of(trial: Any) -> str:
    """What Ray wrote about the failure of a trial."""
    # Tune has written the error beside the trial, but not yet moved it to the study's storage.
    written = Path(trial.error_file) if trial.error_file else None
    return written.read_text() if written is not None and written.is_file() else ""


def lost_process(text: str) -> bool:
    """Whether the process of a trial is gone, as opposed to an error of the trial's own."""
    return any(word in text for word in DEATHS)


def reason_of(text: str) -> str:
    """Why Ray says that a trial failed, in one line."""
    if "OutOfMemory" in text:
        return "out of memory: the process of the trial was killed"
    if UNKEPT in text:
        return text.partition(UNKEPT)[2].splitlines()[0]
    if lost_process(text):
        return "the process of the trial died"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "the engine gave no reason"


def start(resources: Resources) -> None:
    """Start a Ray of our own on this machine, or attach to the one at `resources.address`."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    # A trace for each process that is lost; the ledger and the screen say it in a line.
    for name in ("ray.tune.execution.tune_controller", "ray.tune.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if resources.address:
        _attach(resources.address, options)
        return
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    total = resources.parallel * resources.workers
    if (bytes_ := memory()) < psutil.virtual_memory().total:
        # Ray itself sees the limits of a container, but not those of a group within.
        options["object_store_memory"] = max(int(OBJECTS * bytes_), FEWEST_BYTES)
    folder = temporary_folder()
    end_leftovers(folder)
    ray.init(
        address="local",
        num_cpus=max(processors(), math.ceil(total * resources.cpus)),
        include_dashboard=resources.in_workers,
        _temp_dir=str(folder),
        **options,
    )
    watch_over(folder)


def _attach(address: str, options: dict[str, Any]) -> None:
    """Attach to a running cluster. Raises ValueError for none, or one with another Ray."""
    wanted = os.environ.get(RAY_VARIABLE, ray.__version__)
    if wanted != ray.__version__:
        raise ValueError(
            f"this image holds Ray {ray.__version__}, but the job was sent by a tuner with Ray "
            f"{wanted}; use an image with Ray {wanted} (cluster/Dockerfile)"
        )
    try:
        ray.init(address=address, **options)
    except ConnectionError:
        raise ValueError(
            f"no Ray cluster answers at {address!r}; --address is auto on a node of a cluster, or "
            "host:6379"
        ) from None
    except RuntimeError as error:
        if "ersion mismatch" not in str(error):
            raise
        raise ValueError(
            f"the cluster at {address} runs another Ray or Python than this tuner (Ray "
            f"{ray.__version__}); use the same image everywhere (cluster/Dockerfile)"
        ) from None


def elsewhere(resources: Resources, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns on a node that has what one worker of a trial takes."""
    start(resources)
    there = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus)(function)
    return ray.get(there.remote(*arguments))


def run_on_ray(conductor: Conductor, arrays: StudyArrays, resources: Resources, home: Path) -> None:
    """Conduct a study on Ray Tune until its budget is spent or it is interrupted.

    On Ctrl-C, Tune stops its trials; they stay running in the ledger, to be resumed.
    """
    start(resources)
    key = f"study-{id(conductor)}"
    experiment = f"{key}-{os.getpid()}"
    _Post.conductors[key] = conductor
    box = {
        "arrays": ray.put(arrays),
        "templates": conductor.templates,
        "resources": resources,
        "storage": str(home),
    }
    if resources.in_workers:
        bundle, function = WAITING, tune.with_parameters(run_in_workers, box=box)
    else:
        bundle = {"CPU": resources.cpus, "GPU": resources.gpus}
        function = tune.with_parameters(run_in_process, box=box)
    try:
        tune.Tuner(
            tune.with_resources(function, tune.PlacementGroupFactory([bundle])),
            tune_config=tune.TuneConfig(
                search_alg=LedgerSearcher(key),
                scheduler=LedgerScheduler(key),
                num_samples=-1,
                max_concurrent_trials=resources.parallel,
                reuse_actors=not resources.in_workers,
            ),
            run_config=tune.RunConfig(
                name=experiment,
                storage_path=str(home),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            ),
        ).fit()
    finally:
        _Post.conductors.pop(key, None)
        # Nothing reads what Tune wrote about itself: the ledger and the trials' folders remain.
        shutil.rmtree(home / experiment, ignore_errors=True)
