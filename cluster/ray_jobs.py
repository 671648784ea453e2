"""Jobs on a Ray cluster that is running, through Ray's Jobs API."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError, missing
from cluster.job import fingerprint
from cluster.secrets import check_secrets
from cluster.state import JobState, state_of

START_SECONDS = 60.0
PAUSE = 0.5
NO_AGENT = "No available agent"
MARK = "tuner-fingerprint"
LEFT_OUT = (".git", ".venv", "tuner-runs", "__pycache__", ".mypy_cache", ".ruff_cache")


class RayJobs:
    """The jobs of one Ray cluster. `address` is that of its dashboard, `http://host:8265`.

    A token is taken from RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH where RAY_AUTH_MODE is `token`.
    """

    def __init__(self, address: str) -> None:
        if not address.startswith(("http://", "https://")):
            raise ClusterError(
                f"--ray-address is {address!r}, but must be the address of a dashboard, such as "
                "http://127.0.0.1:8265 (kubectl port-forward makes one of a cluster's)"
            )
        from ray.job_submission import JobSubmissionClient

        self.address = address
        with self._translated():
            self._client = JobSubmissionClient(address)

    def check_version(self) -> None:
        """Raises ClusterError where the cluster runs another Ray than this installation."""
        import ray

        there = getattr(self._client, "_server_ray_version", None)
        if there != ray.__version__:
            raise ClusterError(
                f"the cluster at {self.address} runs Ray {there}, but this tuner uses Ray "
                f"{ray.__version__}; use an image with Ray {ray.__version__} (cluster/Dockerfile)"
            )

    def submit(
        self,
        name: str,
        entrypoint: Sequence[str],
        environment: Mapping[str, str],
        working_dir: Path | None = None,
    ) -> tuple[JobState, bool]:
        """Send a job; False beside its state where the same one is there already.

        Without `working_dir` the cluster's own installation runs, else the folder is sent along.
        """
        check_secrets(entrypoint, environment)
        self.check_version()
        mark = fingerprint([list(entrypoint), dict(environment), str(working_dir or "")])
        runtime: dict[str, Any] = {"env_vars": dict(environment)}
        if working_dir is not None:
            if not working_dir.is_dir():
                raise ClusterError(f"--working-dir {working_dir} is not a folder")
            runtime |= {"working_dir": str(working_dir), "excludes": list(LEFT_OUT)}
        known = self._find(name)
        if known is None:
            request = {
                "submission_id": name,
                "entrypoint": shlex.join(entrypoint),
                "runtime_env": runtime,
                "metadata": {MARK: mark},
            }
            known = self._send(request)
        if known is None:
            return self.job(name), True
        if (known.metadata or {}).get(MARK) != mark:
            raise ClusterError(
                f"a job named {name!r} is there and asks for something else; choose another "
                f"--name, or end that one by: tuner stop {name}"
            )
        return self._state(known), False

    def jobs(self) -> list[JobState]:
        """Every job that tuner sent there, oldest first."""
        with self._translated():
            found = [job for job in self._client.list_jobs() if MARK in (job.metadata or {})]
        return [self._state(job) for job in sorted(found, key=lambda job: job.start_time or 0)]

    def job(self, name: str) -> JobState:
        return self._state(self._known(name))

    def stop(self, name: str) -> JobState:
        """Stop a job; one that is over already is forgotten, so that its name is free again."""
        state = self.job(name)
        with self._translated(name):
            if state.over:
                self._client.delete_job(name)
            else:
                self._client.stop_job(name)
        return state

    def logs(self, name: str, *, follow: bool = False) -> Iterator[str]:
        """Lines that a job's driver wrote; with `follow`, until it is over."""
        self._known(name)
        with self._translated(name):
            if follow:
                yield from _lines(_drained(self._client.tail_job_logs(name)))
            else:
                yield from self._client.get_job_logs(name).splitlines()

    def _send(self, request: Mapping[str, Any]) -> Any | None:
        """None where the job was taken; the job that has its name already, if there is one."""
        name, end = request["submission_id"], time.monotonic() + START_SECONDS
        with self._translated(name):
            while True:
                try:
                    self._client.submit_job(**request)
                    return None
                except RuntimeError as error:
                    known = self._find(name)
                    if known is not None:
                        return known
                    # The dashboard of a cluster that starts answers before it can run anything.
                    if NO_AGENT not in str(error) or time.monotonic() > end:
                        raise
                    time.sleep(PAUSE)

    def _find(self, name: str) -> Any | None:
        with self._translated(name):
            found = [job for job in self._client.list_jobs() if job.submission_id == name]
        return found[0] if found else None

    def _known(self, name: str) -> Any:
        found = self._find(name)
        if found is None:
            raise missing(name, f"the cluster at {self.address}")
        return found

    def _state(self, job: Any) -> JobState:
        status = str(getattr(job.status, "value", job.status))
        state, _ = state_of(status, "")
        return JobState(
            name=job.submission_id,
            state=state,
            over=state in ("succeeded", "failed", "stopped"),
            where=self.address,
            job_status=status,
            message=(job.message or "").strip(),
            started=_time(job.start_time),
            ended=_time(job.end_time),
        )

    @contextlib.contextmanager
    def _translated(self, name: str = "") -> Iterator[None]:
        import requests
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError:
            mode = os.environ.get("RAY_AUTH_MODE", "not set")
            raise ClusterError(
                f"the cluster at {self.address} does not accept the token (RAY_AUTH_MODE is "
                f"{mode}); set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to a file that holds "
                "the cluster's token"
            ) from None
        except (ConnectionError, requests.exceptions.RequestException) as error:
            raise ClusterError(
                f"no Ray dashboard answers at {self.address} ({type(error).__name__}); check the "
                "address, and that the head was started with its dashboard"
            ) from None
        except RuntimeError as error:
            about = f" ({name})" if name else ""
            first = (str(error).splitlines() or [""])[0]
            raise ClusterError(
                f"the cluster at {self.address} refuses the request{about}: {first[:300]}"
            ) from None


def _drained(parts: AsyncGenerator[str, None]) -> Iterator[str]:
    """An asynchronous stream, read step by step from code that is not."""
    loop = asyncio.new_event_loop()
    try:
        while True:
            try:
                yield loop.run_until_complete(anext(parts))
            except StopAsyncIteration:
                return
    finally:
        # A reader who stops early leaves the connection open otherwise.
        loop.run_until_complete(parts.aclose())
        loop.close()


def _lines(parts: Iterator[str]) -> Iterator[str]:
    rest = ""
    for part in parts:
        *lines, rest = (rest + part).split("\n")
        yield from lines
    if rest:
        yield rest


def _time(milliseconds: int | None) -> str | None:
    if not milliseconds:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
