"""Builds the manifest of a KubeRay RayJob (`ray.io/v1`)."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from cluster.errors import ClusterError
from cluster.job import ClusterJob, PodSize
from cluster.rules import QUEUE_LABEL, check_rayjob
from cluster.secrets import check_secrets

GROUP, VERSION, PLURAL, KIND = "ray.io", "v1", "rayjobs", "RayJob"
OURS = {"app.kubernetes.io/name": "tuner", "app.kubernetes.io/managed-by": "tuner"}
FINGERPRINT = "tuner/fingerprint"
IDLE_SECONDS = 120

_SUBMITTER = PodSize(0.5, "1Gi")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_TAINT = re.compile(r"(?P<key>[^=:]+)(=(?P<value>[^:]*))?(:(?P<effect>\w+))?")
# Restricted by the Pod Security Standards, so that namespaces which enforce them take the pods.
_SAFE_POD = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
_SAFE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def rayjob(job: ClusterJob) -> dict[str, Any]:
    """The manifest of a job, valid for `kubectl apply`, checked by the operator's own rules.

    The head runs the driver and no trials; workers come and go between `min_workers` and
    `max_workers`, or are fixed at `max_workers` under a queue, which admits a job as a whole.
    Raises ClusterError.
    """
    check_secrets(job.entrypoint, job.environment)
    labels = {**OURS, **({QUEUE_LABEL: job.queue} if job.queue else {})}
    spec: dict[str, Any] = {
        "entrypoint": shlex.join(job.entrypoint),
        "submissionMode": job.submission,
        "shutdownAfterJobFinishes": job.shutdown,
        "ttlSecondsAfterFinished": job.ttl,
        "backoffLimit": job.retries,
        "suspend": job.suspend,
        "rayClusterSpec": _cluster(job),
    }
    spec |= {"activeDeadlineSeconds": job.deadline} if job.deadline is not None else {}
    waiting = job.waiting_deadline
    spec |= {"preRunningDeadlineSeconds": waiting} if waiting is not None else {}
    if job.submission == "K8sJobMode":
        pod = _pod(job, "ray-job-submitter", _SUBMITTER)
        spec["submitterPodTemplate"] = {"spec": pod}
    manifest = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {
            "name": job.name,
            **({"namespace": job.namespace} if job.namespace else {}),
            "labels": labels,
            "annotations": {FINGERPRINT: job.fingerprint},
        },
        "spec": spec,
    }
    check_rayjob(manifest)
    return manifest


def as_yaml(manifest: Mapping[str, Any]) -> str:
    """YAML without anchors, in the order of the manifest."""
    import yaml

    return yaml.safe_dump(json.loads(json.dumps(manifest)), sort_keys=False, width=100)


def _cluster(job: ClusterJob) -> dict[str, Any]:
    scaled = job.queue is None and job.min_workers != job.max_workers
    cluster: dict[str, Any] = {
        "rayVersion": job.ray_version,
        "enableInTreeAutoscaling": scaled,
        "headGroupSpec": {
            # No trial may run where the driver runs: it would be killed for the trial's memory. One
            # that waits for its workers holds memory alone.
            "rayStartParams": {
                "num-cpus": "0",
                "num-gpus": "0",
                "memory": "0",
                "dashboard-host": "0.0.0.0",
            },
            "template": {
                "metadata": {"labels": dict(OURS)},
                "spec": _pod(job, "ray-head", job.head),
            },
        },
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": job.min_workers if scaled else job.max_workers,
                "minReplicas": job.min_workers if scaled else job.max_workers,
                "maxReplicas": job.max_workers,
                "rayStartParams": {},
                "template": {
                    "metadata": {"labels": dict(OURS)},
                    "spec": {
                        **_pod(job, "ray-worker", job.worker),
                        **_placement(job),
                    },
                },
            }
        ],
    }
    if scaled:
        cluster["autoscalerOptions"] = {"version": "v2", "idleTimeoutSeconds": IDLE_SECONDS}
    if job.ray_token:
        cluster["authOptions"] = {"mode": "token"}
    return cluster


def _pod(job: ClusterJob, name: str, size: PodSize) -> dict[str, Any]:
    resources: dict[str, Any] = {"cpu": f"{size.cpus:g}", "memory": size.memory}
    resources |= {job.gpu_resource: str(size.gpus)} if size.gpus else {}
    container: dict[str, Any] = {
        "name": name,
        "image": job.image,
        "resources": {"requests": resources, "limits": dict(resources)},
        "securityContext": dict(_SAFE),
    }
    pod: dict[str, Any] = {
        "containers": [container],
        "securityContext": dict(_SAFE_POD),
        # The operator replaces a pod that ended. One that started Ray again by itself would be a
        # node that the head and the autoscaler have already given up.
        "restartPolicy": "Never",
    }
    if name != "ray-head":
        # Only the autoscaler, beside the head, speaks to the API server.
        pod["automountServiceAccountToken"] = False
    if name != "ray-job-submitter":
        container["env"] = [
            {"name": key, "value": value} for key, value in sorted(job.environment.items())
        ]
        container["envFrom"] = [{"secretRef": {"name": secret}} for secret in job.secrets]
    pod |= {"serviceAccountName": job.service_account} if job.service_account else {}
    if job.pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret} for secret in job.pull_secrets]
    return pod


def _placement(job: ClusterJob) -> dict[str, Any]:
    placed: dict[str, Any] = {}
    if job.tolerations:
        placed["tolerations"] = [toleration(text) for text in job.tolerations]
    if job.node_selectors:
        placed["nodeSelector"] = dict(job.node_selectors)
    return placed


def toleration(text: str) -> dict[str, str]:
    """`key=value:Effect`, `key:Effect`, `key=value` or `key`. Raises ClusterError."""
    found = _TAINT.fullmatch(text)
    if found is None or (found["effect"] and found["effect"] not in _EFFECTS):
        raise ClusterError(
            f"--toleration is {text!r}, but must be like gpu=yes:NoSchedule, gpu:NoSchedule or "
            f"gpu, with one of: {', '.join(_EFFECTS)}"
        )
    made = {"key": found["key"], "operator": "Exists" if found["value"] is None else "Equal"}
    made |= {} if found["value"] is None else {"value": found["value"]}
    return {**made, **({"effect": found["effect"]} if found["effect"] else {})}
