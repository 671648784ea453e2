"""A job as plain values: what to run, in which image, on what."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cluster.errors import ClusterError

SubmissionMode = Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]

_QUANTITY = re.compile(r"[1-9]\d*(\.\d+)?([KMGT]i?)?")


@dataclass(frozen=True)
class PodSize:
    """What one pod asks for and may use: processors, memory as Kubernetes writes it, GPUs."""

    cpus: float
    memory: str
    gpus: int = 0

    def __post_init__(self) -> None:
        if not _QUANTITY.fullmatch(self.memory):
            raise ClusterError(f"memory is {self.memory!r}, but must be like 16Gi or 512Mi")
        if self.cpus <= 0 or self.gpus < 0:
            raise ClusterError(
                f"a pod of {self.cpus:g} processors and {self.gpus} GPUs cannot be; give more than "
                "0 processors and 0 or more GPUs"
            )


@dataclass(frozen=True)
class ClusterJob:
    """A Ray job that brings its own cluster.

    `entrypoint` is a list of arguments, not a shell line. `secrets` names Secrets whose keys become
    environment variables; `environment` holds what is no secret. `tolerations` are written as
    kubectl writes taints (`key=value:NoSchedule`, `key:NoSchedule`, `key`). Times are in seconds.
    `retries` counts further attempts after the first, each on a new cluster.
    """

    name: str
    entrypoint: tuple[str, ...]
    image: str
    ray_version: str
    namespace: str | None = None
    head: PodSize = PodSize(2, "8Gi")
    worker: PodSize = PodSize(4, "16Gi", 1)
    min_workers: int = 0
    max_workers: int = 2
    gpu_resource: str = "nvidia.com/gpu"
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    pull_secrets: tuple[str, ...] = ()
    service_account: str | None = None
    tolerations: tuple[str, ...] = ()
    node_selectors: Mapping[str, str] = field(default_factory=dict)
    queue: str | None = None
    suspend: bool = False
    shutdown: bool = True
    ttl: int = 3600
    retries: int = 2
    deadline: int | None = None
    waiting_deadline: int | None = None
    submission: SubmissionMode = "K8sJobMode"
    ray_token: bool = True

    @property
    def fingerprint(self) -> str:
        """The same for the same request, whoever sends it and when."""
        return fingerprint(asdict(self))


def head_memory(workers: int) -> str:
    """Memory for a head whose driver holds one data set: 8 GiB, and 64 MiB for each worker pod.

    A head without a bound of its own grows until the node kills it, and the job with it.
    """
    return f"{8 * 1024 + 64 * workers}Mi"


def fingerprint(content: Any) -> str:
    """16 hexadecimal digits of plain values."""
    text = json.dumps(content, sort_keys=True, default=list)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
