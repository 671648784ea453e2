"""Jobs on Kubernetes: KubeRay RayJobs through the official client."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from cluster.errors import ClusterError, missing
from cluster.kube_access import SECONDS, Access
from cluster.kube_errors import body_of, explained, translated
from cluster.pods import trouble_of, trouble_told
from cluster.rayjob import FINGERPRINT, GROUP, OURS, PLURAL, VERSION
from cluster.state import JobState, rayjob_state

PAUSE = 1.0
LOOK_SECONDS = 5.0
_SELECTOR = ",".join(f"{key}={value}" for key, value in OURS.items())


class KubernetesJobs:
    """The jobs of one namespace."""

    def __init__(self, access: Access, namespace: str | None = None) -> None:
        self._access = access
        self.namespace = namespace or access.namespace
        self._place = {
            "group": GROUP, "version": VERSION, "plural": PLURAL, "namespace": self.namespace,
            "_request_timeout": SECONDS,
        }  # fmt: skip

    def submit(self, manifest: Mapping[str, Any]) -> tuple[JobState, bool]:
        """Create a RayJob; False beside its state where the same one is there already.

        Raises ClusterError where the server refuses it, or another job has its name.
        """
        from kubernetes.client.exceptions import ApiException

        name = manifest["metadata"]["name"]
        with translated(self.namespace, name):
            try:
                made = self._access.custom.create_namespaced_custom_object(
                    **self._place, body=dict(manifest), field_validation="Strict"
                )
                return rayjob_state(made), True
            except ApiException as error:
                if error.status != 409 or body_of(error).get("reason") != "AlreadyExists":
                    raise
        found = self._get(name)
        asked = manifest["metadata"]["annotations"][FINGERPRINT]
        if (found["metadata"].get("annotations") or {}).get(FINGERPRINT) != asked:
            raise ClusterError(
                f"a job named {name!r} is there and asks for something else; choose another "
                f"--name, or end that one by: tuner stop {name}"
            )
        return self._with_trouble(found), False

    def jobs(self) -> list[JobState]:
        """Every job that tuner sent to the namespace, oldest first."""
        with translated(self.namespace):
            found = self._access.custom.list_namespaced_custom_object(
                **self._place, label_selector=_SELECTOR
            )
        items = sorted(found["items"], key=lambda item: item["metadata"]["creationTimestamp"])
        return [self._with_trouble(item) for item in items]

    def job(self, name: str) -> JobState:
        return self._with_trouble(self._get(name))

    def stop(self, name: str, *, suspend: bool = False) -> JobState:
        """Delete a job and its cluster, or suspend it: then it can go on later."""
        before = self.job(name)
        with translated(self.namespace, name):
            if suspend:
                body = {"spec": {"suspend": True}}
                self._access.custom.patch_namespaced_custom_object(
                    **self._place, name=name, body=body
                )
            else:
                self._access.custom.delete_namespaced_custom_object(**self._place, name=name)
        return replace(before, state="suspended") if suspend else before

    def watch(self, name: str, seconds: float | None = None) -> Iterator[JobState]:
        """The state of a job now and at every change, until it is over or the time is up.

        Raises NoSuchJob where it is deleted meanwhile.
        """
        end = math.inf if seconds is None else time.monotonic() + seconds
        told: JobState | None = None
        while True:
            found = self._get(name)
            state = self._with_trouble(found)
            if state != told:
                told = state
                yield state
            left = end - time.monotonic()
            if state.over or left <= 0:
                return
            # Pods are not in what is watched, so this comes back to look at them.
            for state in self._changes(found, min(LOOK_SECONDS, left)):
                if replace(state, trouble=told.trouble) != told:
                    told = state
                    yield state
                if state.over:
                    return

    def logs(self, name: str, *, follow: bool = False) -> Iterator[str]:
        """Lines that a job's driver wrote; with `follow`, until it is over, retries included.

        Raises ClusterError where there is nothing yet, or the submission mode keeps no log.
        """
        read: dict[str, int] = {}
        while True:
            found = self._get(name)
            state = self._with_trouble(found)
            pod, container = self._speaker(found)
            if pod is None and (state.over or not follow):
                raise ClusterError(f"{state.line()}; it has written no log that is still there")
            if pod is not None:
                uid = pod["metadata"]["uid"]
                for number, line in enumerate(self._lines(pod, container, follow)):
                    if number >= read.get(uid, 0):
                        read[uid] = number + 1
                        yield line
            if state.over or not follow:
                return
            time.sleep(PAUSE)

    def _changes(self, found: Mapping[str, Any], seconds: float) -> Iterator[JobState]:
        import urllib3.exceptions
        from kubernetes.client.exceptions import ApiException
        from kubernetes.watch import Watch

        meta = found["metadata"]
        try:
            for event in Watch().stream(
                self._access.custom.list_namespaced_custom_object,
                **self._place,
                field_selector=f"metadata.name={meta['name']}",
                resource_version=meta["resourceVersion"],
                timeout_seconds=max(1, math.ceil(seconds)),
            ):
                if event["type"] == "DELETED":
                    raise missing(meta["name"], f"namespace {self.namespace}")
                yield rayjob_state(event["object"])
        except urllib3.exceptions.HTTPError:
            return
        except ApiException as error:
            # 410: the version is too old to be watched from. The caller looks again.
            if error.status != 410:
                raise explained(error, self.namespace, meta["name"]) from None

    def _speaker(self, found: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
        """The newest pod that shows what the driver writes, and its container."""
        mode = found["spec"].get("submissionMode") or "K8sJobMode"
        if mode == "K8sJobMode":
            pods, container = self._pods(f"job-name={found['metadata']['name']}"), ""
        elif mode == "SidecarMode":
            cluster = (found.get("status") or {}).get("rayClusterName")
            selector = f"ray.io/cluster={cluster},ray.io/node-type=head"
            pods, container = self._pods(selector) if cluster else [], "ray-job-submitter"
        else:
            raise ClusterError(
                f"a job in {mode} has no pod that shows its log; read it on the Ray dashboard, or "
                "submit with --submission-mode K8sJobMode"
            )
        begun = [p for p in pods if (p.get("status") or {}).get("phase") not in (None, "Pending")]
        newest = max(begun, key=lambda pod: pod["metadata"]["creationTimestamp"], default=None)
        return newest, container or "ray-job-submitter"

    def _lines(self, pod: Mapping[str, Any], container: str, follow: bool) -> Iterator[str]:
        import urllib3.exceptions

        meta = pod["metadata"]
        with translated(self.namespace, meta["name"]):
            reply = self._access.core.read_namespaced_pod_log(
                meta["name"],
                self.namespace,
                container=container,
                follow=follow,
                _preload_content=False,
                _request_timeout=(SECONDS, None) if follow else SECONDS,
            )
        rest = b""
        try:
            for chunk in reply.stream():
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
        except urllib3.exceptions.HTTPError:
            # A stream that breaks is begun again by the caller, which knows what it has read.
            return
        finally:
            reply.release_conn()
        if rest:
            yield rest.decode(errors="replace")

    def _with_trouble(self, found: Mapping[str, Any]) -> JobState:
        state = rayjob_state(found)
        if state.over or state.state == "suspended":
            return state
        status = found.get("status") or {}
        try:
            pods = self._pods(f"job-name={state.name}")
            cluster = status.get("rayClusterName")
            pods += self._pods(f"ray.io/cluster={cluster}") if cluster else []
            trouble = trouble_of(pods)
            if not trouble and state.state != "running":
                conditions = (status.get("rayClusterStatus") or {}).get("conditions") or ()
                trouble = trouble_told(self._events(cluster or state.name), conditions)
        except ClusterError as error:
            trouble = f"its pods cannot be looked at: {error}"
        return replace(state, trouble=trouble)

    def _pods(self, selector: str) -> list[dict[str, Any]]:
        with translated(self.namespace):
            found = self._access.core.list_namespaced_pod(
                self.namespace, label_selector=selector, _request_timeout=SECONDS
            )
        items: list[dict[str, Any]] = self._plain(found)["items"]
        return items

    def _events(self, name: str) -> list[dict[str, Any]]:
        with translated(self.namespace):
            found = self._access.core.list_namespaced_event(
                self.namespace,
                field_selector=f"involvedObject.name={name}",
                _request_timeout=SECONDS,
            )
        items: list[dict[str, Any]] = self._plain(found)["items"]
        return items

    def _plain(self, found: Any) -> dict[str, Any]:
        """What the library made objects of, as the API server wrote it."""
        plain: dict[str, Any] = self._access.core.api_client.sanitize_for_serialization(found)
        return plain

    def _get(self, name: str) -> dict[str, Any]:
        with translated(self.namespace, name):
            found: dict[str, Any] = self._access.custom.get_namespaced_custom_object(
                **self._place, name=name
            )
        return found
