"""From a study and a cluster's options to a job: what runs there, and how many trials at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.job import ClusterJob, PodSize, fingerprint, head_memory
from cluster.kubernetes_jobs import KubernetesJobs
from cluster.ray_jobs import RayJobs
from cluster.rayjob import rayjob
from cluster.rules import LONGEST_NAME
from cluster.secrets import check_secrets
from cluster.state import JobState
from methods.hyperparameter import Value
from tuner.request import configured
from tuner.study.budget import Budget
from tuner.study.config import RAY_VARIABLE, STORAGE_VARIABLE, StudyConfig

TTL = 600
_PATHS = {"data": "--data", "space": "--space", "textures": "--textures"}


def stable_name(category: str, arguments: Sequence[str]) -> str:
    """A name that the same request has again, so that sending it twice makes one study."""
    plain = re.sub(r"[^a-z0-9]+", "-", category.lower()).strip("-")
    plain = plain if plain[:1].isalpha() else f"study-{plain}".rstrip("-")
    return f"{plain[: LONGEST_NAME - 9].rstrip('-')}-{fingerprint(list(arguments))[:8]}"


def study_of(request: Mapping[str, Any], arguments: Sequence[str]) -> StudyConfig:
    """The study that a request asks for, with its stable name; checked as `launch` would.

    Nothing is read from the data: they may be out of reach from here. Raises ValueError.
    """
    from methods.criteria.registry import get_criterion
    from methods.registry import get_method

    asked = dict(request)
    if asked["category"] is None:
        if asked["data"] != "demo":
            raise ValueError(
                "which category? Give --category: data are not looked at before a job is sent"
            )
        asked["category"] = "tile"
    asked["name"] = asked["name"] or stable_name(asked["category"], arguments)
    config = configured(asked)
    Budget.parse(config.budget)
    get_criterion(config.criterion)
    for name in config.methods:
        get_method(name)
    if config.engine == "local":
        raise ValueError("--engine local runs here; use: tuner launch")
    return config


def entrypoint_of(
    config: StudyConfig, arguments: Sequence[str], share: Mapping[str, Value]
) -> tuple[str, ...]:
    """The command that the job runs: `launch`, going on with its study if it was begun before.

    `share` holds the options that follow from the cluster; what a user gave stands before them.
    """
    given = {argument for argument in arguments if argument.startswith("--")}
    command = ["tuner", "launch", *arguments, "--resume"]
    if "--name" not in given:
        command += ["--name", config.name]
    if "--category" not in given:
        command += ["--category", config.category]
    if "--address" not in given:
        command += ["--address", "auto"]
    for option, value in share.items():
        if option not in given:
            command += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return tuple(command)


@dataclass(frozen=True)
class Request:
    """What `tuner submit` was asked: a study, its arguments as given, and what pods get.

    `pods` holds the fields of `ClusterJob`; there `worker` is (processors, memory, GPUs), `head` is
    (processors, memory or None), and what is None follows from the rest.
    """

    study: Mapping[str, Any]
    arguments: tuple[str, ...]
    pods: Mapping[str, Any]
    working_dir: Path | None = None


@dataclass(frozen=True)
class Sent:
    """A job that is there now; `created` is False where it was there before."""

    study: str
    job: JobState
    created: bool

    def as_dict(self) -> dict[str, Any]:
        return {"study": self.study, "created": self.created, "job": self.job.as_dict()}

    def line(self) -> str:
        verb = "sent" if self.created else "there already, nothing was sent"
        return f"{verb}: {self.job.line()}"


def plan_submission(
    request: Request, ray_address: str | None, namespace: str | None
) -> dict[str, Any]:
    """What would be sent: a RayJob manifest, or the request to the Ray Jobs API.

    Raises ValueError (ClusterError among them) for whatever can be known before sending.
    """
    config = study_of(request.study, request.arguments)
    if ray_address is None:
        if request.working_dir is not None:
            raise ClusterError("--working-dir goes with --ray-address; put the code into the image")
        options = {**request.pods, "namespace": namespace}
        return rayjob(kubernetes_job(config, request.arguments, options))
    environment = dict(request.pods.get("environment", {}))
    entrypoint = entrypoint_of(config, request.arguments, {})
    check_secrets(entrypoint, environment)
    return {
        "name": config.name,
        "entrypoint": list(entrypoint),
        "environment": environment,
        "working_dir": str(request.working_dir) if request.working_dir else None,
    }


def send(
    place: KubernetesJobs | RayJobs,
    plan: Mapping[str, Any],
    seconds: float = 0,
    tell: Callable[[JobState], None] = lambda state: None,
) -> Sent:
    """Send what `plan_submission` made, and watch its start on Kubernetes for some seconds.

    Raises ClusterError where the job cannot start; it stays there, for the cause may pass.
    """
    if not isinstance(place, KubernetesJobs):
        folder = plan["working_dir"]
        job, created = place.submit(
            plan["name"],
            plan["entrypoint"],
            plan["environment"],
            Path(folder) if folder else None,
        )
        return Sent(plan["name"], job, created)
    name = plan["metadata"]["name"]
    job, created = place.submit({**plan, "metadata": _placed(plan, place.namespace)})
    if seconds > 0:
        for job in place.watch(name, seconds):
            tell(job)
            if job.trouble or job.state == "running":
                break
    if job.trouble:
        raise ClusterError(f"{job.line()}. The job stays; remove it by: tuner stop {name}")
    return Sent(name, job, created)


def _placed(plan: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    return {**plan["metadata"], "namespace": namespace}


def kubernetes_job(
    config: StudyConfig, arguments: Sequence[str], options: Mapping[str, Any]
) -> ClusterJob:
    """A job for Kubernetes; `options` are those of a `Request`, and `namespace`.

    Raises ClusterError for what would be lost with a pod, or lies on this machine only.
    """
    for field, option in _PATHS.items():
        _check_path(getattr(config, field), option)
    if not options.get("image"):
        raise ClusterError(
            "which image? Build one by cluster/Dockerfile, push it where the cluster can pull it, "
            "and give its name by --image"
        )
    if not (config.storage or options["secrets"] or STORAGE_VARIABLE in options["environment"]):
        raise ClusterError(
            "the study's ledger would be lost with its pod; put the URL of a PostgreSQL database "
            f"under the key {STORAGE_VARIABLE} into a Secret and name that by --secret"
        )
    ray = version("ray")
    if not config.storage_path:
        raise ClusterError(
            "trials keep their files in pods, which come and go; give a place that outlives them, "
            "by --storage-path s3://bucket/prefix"
        )
    head_cpus, memory = options["head"]
    given = {
        **options,
        "worker": PodSize(*options["worker"]),
        "environment": {**options["environment"], RAY_VARIABLE: ray},
        "head": PodSize(head_cpus, memory or head_memory(options["max_workers"])),
        "ttl": (TTL if options["shutdown"] else 0) if options["ttl"] is None else options["ttl"],
    }
    job = ClusterJob(name=config.name, entrypoint=(), ray_version=ray, **given)
    share = shares(config, job)
    return replace(job, entrypoint=entrypoint_of(config, [*arguments, "--durable"], share))


def shares(config: StudyConfig, job: ClusterJob) -> dict[str, Value]:
    """Trials at once on all workers of a cluster, and what each worker of a trial gets of a pod.

    Raises ClusterError where not even one trial fits.
    """
    pod, workers = job.worker, config.workers_per_trial
    gpus = config.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if pod.gpus else 0.0
    if gpus > pod.gpus:
        raise ClusterError(
            f"a worker of a trial wants {gpus:g} GPUs, but a pod has {pod.gpus}; raise "
            "--gpus-per-node or lower --gpus-per-worker"
        )
    cpus = config.cpus_per_worker
    places = int(pod.gpus / gpus) if gpus else int(pod.cpus / (cpus or 1.0))
    cpus = cpus or (pod.cpus / places if gpus else 1.0)
    places = min(places, int(pod.cpus / cpus))
    parallel = places * job.max_workers // workers
    if parallel < 1:
        raise ClusterError(
            f"a trial wants {workers} workers of {cpus:g} processors and {gpus:g} GPUs, but "
            f"{job.max_workers} pods of {pod.cpus:g} processors and {pod.gpus} GPUs have no room "
            "for it; raise --max-workers, --cpus-per-node or --gpus-per-node"
        )
    return {"--parallel": parallel, "--gpus-per-worker": gpus, "--cpus-per-worker": cpus}


def _check_path(value: str | None, option: str) -> None:
    if value is None or value == "demo" or value.startswith(("s3://", "/")):
        return
    if os.sep in value or value.startswith(".") or Path(value).exists():
        raise ClusterError(
            f"{option} {value} lies on this machine, where no pod can read it; copy it to "
            "s3://bucket/prefix, or into the image and give its absolute path there"
        )
