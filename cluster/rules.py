"""What the KubeRay operator refuses, although the schema of a RayJob allows it.

Such a job would be taken by the API server and then fail, or wait for ever, inside the cluster.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from cluster.errors import ClusterError
from cluster.job import SubmissionMode

LONGEST_NAME = 47
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_RAY_IMAGE = re.compile(r"(?:^|/)ray(?:-ml|-llm)?:(\d+\.\d+\.\d+)")


def check_rayjob(manifest: Mapping[str, Any]) -> None:
    """Raises ClusterError that names the rule, the value and the cure."""
    spec = manifest["spec"]
    check_name(manifest["metadata"]["name"])
    _check_cluster(spec)
    _check_ending(spec)
    _check_submission(spec)
    if "rayClusterSpec" in spec:
        _check_pods(spec["rayClusterSpec"])
    if QUEUE_LABEL in manifest["metadata"].get("labels", {}):
        _check_queue(spec)


def check_name(name: str) -> None:
    """Raises ClusterError for a name that the operator cannot make its other names from."""
    if len(name) > LONGEST_NAME:
        raise ClusterError(
            f"the job's name {name!r} has {len(name)} characters, but the operator allows "
            f"{LONGEST_NAME}, because it appends to it; choose a shorter --name"
        )
    if not _LABEL.fullmatch(name):
        raise ClusterError(
            f"the job's name {name!r} must begin with a letter and hold only lower-case letters, "
            "digits and dashes (not at the end); choose another --name"
        )


def _check_cluster(spec: Mapping[str, Any]) -> None:
    if ("rayClusterSpec" in spec) == ("clusterSelector" in spec):
        raise ClusterError("a job needs either a cluster of its own or a selector of one")
    retries = spec.get("backoffLimit", 0)
    if retries < 0:
        raise ClusterError(f"retries is {retries}, but must be 0 or more")
    if retries and "clusterSelector" in spec:
        raise ClusterError(
            "a job on a cluster that exists cannot be retried, because a retry makes a new "
            "cluster; use --retries 0"
        )


def _check_ending(spec: Mapping[str, Any]) -> None:
    shutdown = spec.get("shutdownAfterJobFinishes", False)
    if spec.get("suspend") and not shutdown:
        raise ClusterError(
            "a suspended job must give its cluster back at its end; leave out --keep-cluster"
        )
    if spec.get("suspend") and "clusterSelector" in spec:
        raise ClusterError("a job on a cluster that exists cannot be suspended")
    ttl = spec.get("ttlSecondsAfterFinished", 0)
    if ttl < 0:
        raise ClusterError(f"ttl is {ttl} s, but must be 0 or more")
    if ttl and not shutdown:
        raise ClusterError(
            f"ttl is {ttl} s, but a cluster that is kept has none; use --ttl 0 with --keep-cluster"
        )
    for key, option in (
        ("activeDeadlineSeconds", "--deadline"),
        ("preRunningDeadlineSeconds", "--waiting-deadline"),
    ):
        if key in spec and spec[key] <= 0:
            raise ClusterError(f"{option} is {spec[key]} s, but must be more than 0")


def _check_submission(spec: Mapping[str, Any]) -> None:
    mode = spec.get("submissionMode", "K8sJobMode")
    modes = get_args(SubmissionMode)
    if mode not in modes:
        raise ClusterError(f"--submission-mode is {mode!r}, but must be one of: {', '.join(modes)}")
    if mode == "InteractiveMode" and spec.get("backoffLimit", 0):
        raise ClusterError(
            "a job in InteractiveMode is sent by a person and cannot be retried; use --retries 0"
        )
    if mode != "SidecarMode":
        return
    if "submitterPodTemplate" in spec or "submitterConfig" in spec:
        raise ClusterError("SidecarMode has no submitter pod, but a template of one is given")
    if "clusterSelector" in spec:
        raise ClusterError("SidecarMode needs a cluster of its own; use K8sJobMode")
    if _pod(spec["rayClusterSpec"]["headGroupSpec"]).get("restartPolicy") != "Never":
        raise ClusterError("SidecarMode needs restartPolicy Never for the head pod")


def _check_pods(cluster: Mapping[str, Any]) -> None:
    for group in (cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", ())):
        first = _pod(group)["containers"][0]
        if not first["name"].startswith("ray-"):
            raise ClusterError(
                f"the first container is {first['name']}, but the operator starts Ray in the first"
            )
        found = _RAY_IMAGE.search(first["image"])
        wanted = cluster["rayVersion"]
        if found and found[1] != wanted:
            raise ClusterError(
                f"the image {first['image']} holds Ray {found[1]}, but this tuner uses Ray "
                f"{wanted}; use an image with Ray {wanted} (cluster/Dockerfile)"
            )
    for group in cluster.get("workerGroupSpecs", ()):
        low, high = group["minReplicas"], group["maxReplicas"]
        if not 0 <= low <= high or high < 1:
            raise ClusterError(
                f"workers are {low} to {high}, but --min-workers must be 0 or more, and "
                "--max-workers at least that and at least 1"
            )


def _check_queue(spec: Mapping[str, Any]) -> None:
    if not spec.get("shutdownAfterJobFinishes"):
        raise ClusterError(
            "a queued job must give its cluster back at its end; leave out --keep-cluster"
        )
    if "clusterSelector" in spec:
        raise ClusterError("Kueue does not admit a job on a cluster that exists")
    if spec["rayClusterSpec"].get("enableInTreeAutoscaling"):
        raise ClusterError(
            "Kueue admits a job as a whole, without autoscaling; leave autoscaling off"
        )


def _pod(group: Mapping[str, Any]) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = group["template"]["spec"]
    return spec
