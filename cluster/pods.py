"""Why the pods of a job do not run, read from the pods and from what is told about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_START = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


def trouble_of(pods: Iterable[Mapping[str, Any]]) -> str:
    """The first reason found in pods as the API server gives them; empty where all is well."""
    for pod in pods:
        found = _of_containers(pod) or _of_scheduling(pod)
        if found:
            return f"pod {pod['metadata']['name']}: {found}"
    return ""


def trouble_told(events: Iterable[Mapping[str, Any]], conditions: Iterable[Any]) -> str:
    """Why pods were not even made: the newest such warning, or a condition of the cluster."""
    told = [
        str(event.get("message") or "")
        for event in events
        if event.get("type") == "Warning" and str(event.get("reason", "")).startswith("Failed")
    ]
    told += [
        str(condition.get("message") or "")
        for condition in conditions
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True"
    ]
    if not told:
        return ""
    if "exceeded quota" in told[-1]:
        return f"the quota is exceeded ({told[-1]}); ask for less, or have the quota raised"
    return told[-1]


def _of_containers(pod: Mapping[str, Any]) -> str:
    status = pod.get("status") or {}
    for key in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(key) or ():
            found = _of_container(container)
            if found:
                return found
    return ""


def _of_container(container: Mapping[str, Any]) -> str:
    state = container.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    reason, message = waiting.get("reason"), waiting.get("message") or ""
    if reason in _IMAGE:
        return (
            f"the image {container.get('image')} cannot be pulled ({reason}: {message}); check its "
            "name, and --pull-secret where the registry is private"
        )
    if reason in _START:
        return f"its container cannot start ({reason}: {message}); check that every --secret exists"
    before = (container.get("lastState") or {}).get("terminated") or {}
    if "OOMKilled" in (ended.get("reason"), before.get("reason")):
        return (
            f"{container.get('name')} was killed for its memory; give more by --worker-memory or "
            "--head-memory"
        )
    if reason == "CrashLoopBackOff":
        return f"{container.get('name')} ends again and again ({message})"
    return ""


def _of_scheduling(pod: Mapping[str, Any]) -> str:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"no node takes it ({condition.get('message')})"
    return ""
