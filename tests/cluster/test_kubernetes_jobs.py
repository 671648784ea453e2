from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cluster import kube_errors, kubernetes_jobs
from cluster.errors import ClusterError, NoSuchJob
from cluster.job import ClusterJob
from cluster.kube_access import connect
from cluster.kubernetes_jobs import KubernetesJobs
from cluster.rayjob import rayjob
from tests.cluster.api_server import ApiServer
from tests.cluster.conftest import Place, write_kubeconfig

JOB = ClusterJob("tile-1", ("tuner", "launch"), "registry/tuner:1", "2.60.0", secrets=("tuner",))


def manifest(**changes: Any) -> dict[str, Any]:
    return rayjob(dataclasses.replace(JOB, **changes))


def refused(place: KubernetesJobs, content: dict[str, Any] | None = None) -> str:
    with pytest.raises(ClusterError) as caught:
        place.submit(content or manifest())
    return str(caught.value)


def test_a_job_sent_twice_is_one_job(place: Place) -> None:
    first, created = place.jobs.submit(manifest())
    assert created and first.state == "waiting" and not first.over
    again, created = place.jobs.submit(manifest())
    assert not created and again.name == "tile-1"
    assert [job.name for job in place.jobs.jobs()] == ["tile-1"]
    said = refused(place.jobs, manifest(max_workers=9))
    assert "asks for something else" in said and "tuner stop tile-1" in said


def test_many_senders_at_once_make_one_job(place: Place) -> None:
    made: list[bool] = []
    senders = [
        threading.Thread(target=lambda: made.append(place.jobs.submit(manifest())[1]))
        for _ in range(6)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert sorted(made) == [False] * 5 + [True]


def test_both_statuses_are_read_and_only_the_operator_writes_them(place: Place) -> None:
    content = manifest()
    content["status"] = {"jobStatus": "SUCCEEDED", "jobDeploymentStatus": "Complete"}
    assert place.jobs.submit(content)[0].state == "waiting"
    place.operator("tile-1", jobStatus="FAILED", jobDeploymentStatus="Complete", message="exit 1")
    found = place.jobs.job("tile-1")
    assert (found.state, found.over, found.message) == ("failed", True, "exit 1")


def test_watching_tells_every_change_until_it_is_over(place: Place) -> None:
    place.jobs.submit(manifest())

    def operate() -> None:
        for job, deployment in (("", "Initializing"), ("RUNNING", "Running"),
                                ("SUCCEEDED", "Complete")):  # fmt: skip
            time.sleep(0.3)
            place.operator("tile-1", jobStatus=job, jobDeploymentStatus=deployment)

    operator = threading.Thread(target=operate)
    operator.start()
    states = [(s.deployment_status, s.state) for s in place.jobs.watch("tile-1", 20)]
    operator.join()
    assert states == [
        ("", "waiting"), ("Initializing", "waiting"), ("Running", "running"),
        ("Complete", "succeeded"),
    ]  # fmt: skip


def test_watching_ends_with_its_time_or_its_job(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.jobs.submit(manifest())
    assert [state.state for state in place.jobs.watch("tile-1", 0.5)] == ["waiting"]
    seen = place.jobs.watch("tile-1", 20)
    next(seen)
    place.jobs.stop("tile-1")
    with pytest.raises(NoSuchJob):
        next(seen)


def test_a_watch_from_a_forgotten_version_looks_again(
    place: Place, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_jobs, "LOOK_SECONDS", 0.2)
    place.jobs.submit(manifest())
    seen = place.jobs.watch("tile-1", 20)
    assert next(seen).state == "waiting"
    server.compact()
    place.operator("tile-1", jobStatus="RUNNING", jobDeploymentStatus="Running")
    assert next(seen).state == "running"


def test_stopping_deletes_and_suspending_keeps(place: Place) -> None:
    place.jobs.submit(manifest())
    assert place.jobs.stop("tile-1", suspend=True).state == "suspended"
    assert place.jobs.job("tile-1").state == "suspended"
    place.jobs.stop("tile-1")
    with pytest.raises(NoSuchJob, match="no job is named 'tile-1'"):
        place.jobs.job("tile-1")
    with pytest.raises(NoSuchJob):
        place.jobs.stop("tile-1")


def test_no_rights(place: Place, tmp_path: Path) -> None:
    other = connect(str(place.without_rights(tmp_path / "nobody")))
    said = refused(KubernetesJobs(other))
    assert f"no rights in namespace {place.namespace}" in said
    assert kube_errors.RIGHTS in said


def test_credentials_that_are_not_accepted(place: Place, tmp_path: Path) -> None:
    path = write_kubeconfig(tmp_path / "old", place.cluster, "expired-token", place.namespace)
    said = refused(KubernetesJobs(connect(str(path))))
    assert "does not accept the credentials" in said and "expired-token" not in said


def test_a_namespace_that_does_not_exist(place: Place) -> None:
    said = refused(KubernetesJobs(place.access, "nowhere"), manifest(namespace="nowhere"))
    assert "the namespace nowhere does not exist" in said and "kubectl create namespace" in said


def test_an_operator_that_is_not_installed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_jobs, "VERSION", "v9")
    assert "the KubeRay operator is not installed" in refused(place.jobs)


def test_a_quota_that_is_used_up(place: Place) -> None:
    hard = {"hard": {"count/rayjobs.ray.io": "1"}}
    body = {"metadata": {"name": "small"}, "spec": hard}
    place.access.core.create_namespaced_resource_quota(place.namespace, body)
    place.jobs.submit(manifest())
    said = refused(place.jobs, manifest(name="tile-2"))
    assert f"the quota of namespace {place.namespace} is exceeded" in said and "small" in said


def test_what_the_schema_refuses_is_named(place: Place) -> None:
    content = manifest()
    content["spec"]["backoffLimit"] = "twice"
    assert "spec.backoffLimit: " in refused(place.jobs, content)
    content = manifest()
    content["spec"]["wishes"] = 3
    assert 'unknown field "spec.wishes"' in refused(place.jobs, content)


def test_an_image_that_cannot_be_pulled(place: Place) -> None:
    place.jobs.submit(manifest())
    place.operator("tile-1", jobDeploymentStatus="Initializing", rayClusterName="tile-1-abc")
    waiting = {"reason": "ImagePullBackOff", "message": "registry/tuner:1: not found"}
    status = {"name": "ray-worker", "image": "registry/tuner:1", "imageID": "", "ready": False,
              "restartCount": 0, "state": {"waiting": waiting}}  # fmt: skip
    place.pod("head", {"ray.io/cluster": "tile-1-abc"}, {"containerStatuses": [status]})
    trouble = next(place.jobs.watch("tile-1", 5)).trouble
    assert trouble.startswith("pod head: the image registry/tuner:1 cannot be pulled")
    assert "registry/tuner:1: not found" in trouble and "--pull-secret" in trouble


def test_pods_that_are_not_made_for_a_quota(place: Place) -> None:
    place.jobs.submit(manifest())
    place.operator("tile-1", jobDeploymentStatus="Initializing", rayClusterName="tile-1-abc")
    about = {"kind": "RayCluster", "name": "tile-1-abc", "namespace": place.namespace}
    body = {
        "metadata": {"name": "told"}, "involvedObject": about, "type": "Warning",
        "reason": "FailedToCreateHeadPod", "message": "pods is forbidden: exceeded quota: gpus",
    }  # fmt: skip
    place.access.core.create_namespaced_event(place.namespace, body)
    assert "the quota is exceeded" in place.jobs.job("tile-1").trouble


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    cluster = {"server": "http://127.0.0.1:9"}
    access = connect(str(write_kubeconfig(tmp_path / "k", cluster, "t", "default")))
    assert "the API server does not answer" in refused(KubernetesJobs(access))


def test_no_kubeconfig_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterError, match=r"no kubeconfig: .* set KUBECONFIG, or --kubeconfig"):
        connect()
    (tmp_path / "bad").write_text("clusters: []\n")
    with pytest.raises(ClusterError, match="cannot be used"):
        connect(str(tmp_path / "bad"))


def test_logs_follow_a_job_through_its_retry(place: Place, server: ApiServer) -> None:
    place.jobs.submit(manifest())
    with pytest.raises(ClusterError, match="no log that is still there"):
        list(place.jobs.logs("tile-1"))
    labels = {"job-name": "tile-1"}
    place.operator("tile-1", jobStatus="RUNNING", jobDeploymentStatus="Running")
    server.logs |= {"first": ["a", "b"], "second": ["a", "c"]}
    place.pod("first", labels, {"phase": "Running"})
    assert list(place.jobs.logs("tile-1")) == ["a", "b"]

    def operate() -> None:
        time.sleep(0.2)
        server.logs["first"].append("died")
        place.operator("tile-1", jobStatus="FAILED", jobDeploymentStatus="Retrying")
        place.access.core.patch_namespaced_pod_status(
            "first", place.namespace, {"status": {"phase": "Failed"}}
        )
        time.sleep(1.2)
        place.pod("second", labels, {"phase": "Succeeded"})
        place.operator("tile-1", jobStatus="SUCCEEDED", jobDeploymentStatus="Complete")

    operator = threading.Thread(target=operate)
    operator.start()
    assert list(place.jobs.logs("tile-1", follow=True)) == ["a", "b", "died", "a", "c"]
    operator.join()
