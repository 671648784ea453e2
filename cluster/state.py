"""How a job stands, in one word, wherever it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["waiting", "running", "retrying", "suspended", "succeeded", "failed", "stopped",
                "unknown"]  # fmt: skip

_DEPLOYMENTS: dict[str, State] = {
    "Failed": "failed",
    "ValidationFailed": "failed",
    "Retrying": "retrying",
    "Suspending": "suspended",
    "Suspended": "suspended",
}
_JOBS: dict[str, State] = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "STOPPED": "stopped",
}
_OVER = ("Complete", "Failed", "ValidationFailed")


@dataclass(frozen=True)
class JobState:
    """One job. `over` is True once nothing of it will run again; `trouble` says what it waits for.

    `job_status` and `deployment_status` are the words of Ray and of the operator.
    """

    name: str
    state: State
    over: bool
    where: str
    job_status: str = ""
    deployment_status: str = ""
    message: str = ""
    started: str | None = None
    ended: str | None = None
    trouble: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def line(self) -> str:
        """State and reason for people."""
        words = "/".join(word for word in (self.deployment_status, self.job_status) if word)
        text = f"{self.name}: {self.state}" + (f" ({words})" if words else "")
        reason = self.trouble or self.message
        return text + (f": {reason}" if reason else "")


def state_of(job_status: str, deployment_status: str) -> tuple[State, bool]:
    """One word, and whether it is the last, from the two statuses of a RayJob.

    Neither is enough alone: a job that failed can be deployed to the end ("Complete"), and one that
    has failed once ("FAILED") may be about to be tried again ("Retrying").
    """
    over = deployment_status in _OVER
    if deployment_status in _DEPLOYMENTS:
        return _DEPLOYMENTS[deployment_status], over
    if job_status in _JOBS:
        return _JOBS[job_status], over
    return ("unknown" if over else "waiting"), over


def rayjob_state(found: Mapping[str, Any]) -> JobState:
    """The state of a RayJob as the API server gives it."""
    status = found.get("status") or {}
    job = str(status.get("jobStatus") or "")
    deployment = str(status.get("jobDeploymentStatus") or "")
    state, over = state_of(job, deployment)
    if not status and (found.get("spec") or {}).get("suspend"):
        state = "suspended"
    reason, message = status.get("reason") or "", status.get("message") or ""
    return JobState(
        name=found["metadata"]["name"],
        state=state,
        over=over,
        where=f"namespace {found['metadata'].get('namespace', 'default')}",
        job_status=job,
        deployment_status=deployment,
        message=": ".join(part for part in (reason, message) if part),
        started=status.get("startTime"),
        ended=status.get("endTime"),
    )
