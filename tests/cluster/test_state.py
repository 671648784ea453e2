from __future__ import annotations

import pytest

from cluster.pods import trouble_of, trouble_told
from cluster.state import rayjob_state, state_of


@pytest.mark.parametrize(
    ("job", "deployment", "state", "over"),
    [
        ("", "", "waiting", False),
        ("", "Initializing", "waiting", False),
        ("", "Waiting", "waiting", False),
        ("PENDING", "Running", "waiting", False),
        ("RUNNING", "Running", "running", False),
        ("SUCCEEDED", "Complete", "succeeded", True),
        ("FAILED", "Complete", "failed", True),
        ("STOPPED", "Complete", "stopped", True),
        ("FAILED", "Failed", "failed", True),
        ("RUNNING", "Failed", "failed", True),
        ("", "ValidationFailed", "failed", True),
        ("FAILED", "Retrying", "retrying", False),
        ("FAILED", "Running", "failed", False),
        ("RUNNING", "Suspending", "suspended", False),
        ("", "Suspended", "suspended", False),
        ("", "Complete", "unknown", True),
    ],
)
def test_two_statuses_make_one_word(job: str, deployment: str, state: str, over: bool) -> None:
    assert state_of(job, deployment) == (state, over)


def test_a_line_says_why() -> None:
    status = {"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded", "message": "too slow"}
    found = rayjob_state({"metadata": {"name": "a"}, "status": status})
    assert found.line() == "a: failed (Failed): DeadlineExceeded: too slow"


def pod(status: dict) -> dict:  # type: ignore[type-arg]
    return {"metadata": {"name": "p"}, "status": status}


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({}, ""),
        ({"containerStatuses": [{"state": {"running": {}}}]}, ""),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "PodInitializing"}}}]}, ""),
        (
            {"containerStatuses": [{"state": {"waiting": {
                "reason": "CreateContainerConfigError", "message": 'secret "x" not found'}}}]},
            'secret "x" not found); check that every --secret exists',
        ),
        (
            {"containerStatuses": [{"name": "ray-worker", "lastState": {
                "terminated": {"reason": "OOMKilled"}}, "state": {"running": {}}}]},
            "ray-worker was killed for its memory",
        ),
        (
            {"initContainerStatuses": [{"image": "i", "state": {
                "waiting": {"reason": "ErrImagePull"}}}]},
            "the image i cannot be pulled",
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False",
                             "message": "0/3 nodes: Insufficient nvidia.com/gpu"}]},
            "no node takes it (0/3 nodes: Insufficient nvidia.com/gpu)",
        ),
    ],
)  # fmt: skip
def test_pods_tell_their_trouble(status: dict, said: str) -> None:  # type: ignore[type-arg]
    found = trouble_of([pod({}), pod(status)])
    assert said in found if said else not found


def test_a_cluster_without_pods_tells_its_trouble() -> None:
    normal = {"type": "Normal", "reason": "FailedX", "message": "no"}
    warning = {"type": "Warning", "reason": "FailedToCreateWorkerPod", "message": "bad"}
    assert trouble_told([normal, warning], []) == "bad"
    failed = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: gpus"}
    assert "the quota is exceeded" in trouble_told([], [failed])
    assert trouble_told([], [{**failed, "status": "False"}]) == ""
