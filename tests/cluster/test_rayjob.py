from __future__ import annotations

import copy
import dataclasses
import json
import os
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cluster.errors import ClusterError
from cluster.job import ClusterJob, PodSize, head_memory
from cluster.rayjob import as_yaml, rayjob, toleration
from cluster.rules import check_rayjob
from cluster.secrets import has_password

JOB = ClusterJob(
    name="tile-1",
    entrypoint=("tuner", "launch", "--category", "metal nut", "--budget", "50"),
    image="registry/tuner:1",
    ray_version="2.60.0",
    namespace="team",
    secrets=("tuner", "store"),
    pull_secrets=("registry",),
    service_account="tuner-job",
    environment={"AWS_ENDPOINT_URL": "http://s3:9000"},
    tolerations=("gpu=yes:NoSchedule",),
    node_selectors={"pool": "gpu"},
)

# The parts of the published schema that a mistake of ours would hit first. The whole of it can be
# given by TUNER_TEST_RAYJOB_SCHEMA.
POD = {
    "type": "object", "required": ["spec"], "additionalProperties": False,
    "properties": {
        "metadata": {"type": "object"},
        "spec": {
            "type": "object", "required": ["containers"], "additionalProperties": False,
            "properties": {
                "containers": {"type": "array", "minItems": 1},
                "automountServiceAccountToken": {"type": "boolean"},
                "securityContext": {"type": "object"}, "restartPolicy": {"type": "string"},
                "serviceAccountName": {"type": "string"}, "imagePullSecrets": {"type": "array"},
                "tolerations": {"type": "array"}, "nodeSelector": {"type": "object"},
            },
        },
    },
}  # fmt: skip
GROUP = {
    "rayStartParams": {"type": "object", "additionalProperties": {"type": "string"}},
    "template": POD,
}
CLUSTER = {
    "type": "object", "additionalProperties": False,
    "properties": {
        "rayVersion": {"type": "string"}, "enableInTreeAutoscaling": {"type": "boolean"},
        "authOptions": {"type": "object", "properties": {"mode": {"enum": ["disabled", "token"]}}},
        "autoscalerOptions": {
            "type": "object",
            "properties": {"version": {"enum": ["v1", "v2"]},
                           "idleTimeoutSeconds": {"type": "integer"}},
        },
        "headGroupSpec": {"type": "object", "additionalProperties": False, "properties": GROUP},
        "workerGroupSpecs": {"type": "array", "items": {
            "type": "object", "additionalProperties": False,
            "properties": {**GROUP, "groupName": {"type": "string"},
                           "replicas": {"type": "integer"}, "minReplicas": {"type": "integer"},
                           "maxReplicas": {"type": "integer"}},
        }},
    },
}  # fmt: skip
SCHEMA = {
    "type": "object",
    "properties": {"spec": {
        "type": "object", "additionalProperties": False,
        "properties": {
            "entrypoint": {"type": "string"}, "submissionMode": {"type": "string"},
            "shutdownAfterJobFinishes": {"type": "boolean"}, "suspend": {"type": "boolean"},
            "ttlSecondsAfterFinished": {"type": "integer"}, "backoffLimit": {"type": "integer"},
            "activeDeadlineSeconds": {"type": "integer"},
            "preRunningDeadlineSeconds": {"type": "integer"},
            "rayClusterSpec": CLUSTER, "submitterPodTemplate": POD,
        },
    }},
}  # fmt: skip


def changed(**changes: Any) -> dict[str, Any]:
    return rayjob(dataclasses.replace(JOB, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"queue": "team", "suspend": True},
        {"submission": "SidecarMode", "deadline": 9000, "waiting_deadline": 600},
        {"worker": PodSize(8, "4Gi"), "min_workers": 2, "max_workers": 2, "ray_token": False},
        {"shutdown": False, "ttl": 0, "retries": 0, "submission": "HTTPMode"},
    ],
    ids=["plain", "queued", "sidecar", "fixed", "kept"],
)
def test_manifests_meet_the_schema_and_survive_yaml(changes: dict[str, Any]) -> None:
    given = os.environ.get("TUNER_TEST_RAYJOB_SCHEMA")
    schema = json.loads(Path(given).read_text()) if given else SCHEMA
    manifest = changed(**changes)
    jsonschema.validate(manifest, schema)
    text = as_yaml(manifest)
    assert yaml.safe_load(text) == manifest
    assert "&id" not in text


def test_what_a_job_asks_for_is_in_its_manifest() -> None:
    spec = changed()["spec"]
    assert shlex.split(spec["entrypoint"]) == list(JOB.entrypoint)
    cluster = spec["rayClusterSpec"]
    head, worker = cluster["headGroupSpec"], cluster["workerGroupSpecs"][0]
    nothing = {"num-cpus": "0", "num-gpus": "0", "memory": "0"}
    assert head["rayStartParams"] | nothing == head["rayStartParams"]
    assert (worker["minReplicas"], worker["maxReplicas"]) == (0, 2)
    assert cluster["enableInTreeAutoscaling"] is True
    pod = worker["template"]["spec"]
    ray = pod["containers"][0]
    assert ray["resources"]["limits"] == {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}
    assert ray["envFrom"] == [{"secretRef": {"name": "tuner"}}, {"secretRef": {"name": "store"}}]
    assert ray["env"] == [{"name": "AWS_ENDPOINT_URL", "value": "http://s3:9000"}]
    assert pod["tolerations"] == [toleration("gpu=yes:NoSchedule")]
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["serviceAccountName"] == "tuner-job"
    assert "tolerations" not in head["template"]["spec"]
    for found in (head["template"]["spec"], pod, spec["submitterPodTemplate"]["spec"]):
        assert found["securityContext"]["runAsNonRoot"] is True
        assert found["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_queue_admits_a_job_as_a_whole() -> None:
    manifest = changed(queue="team")
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    cluster = manifest["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is False
    assert cluster["workerGroupSpecs"][0]["replicas"] == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "x" * 48}, "has 48 characters, but the operator allows 47"),
        ({"name": "Tile_1"}, "lower-case letters"),
        ({"name": "1-tile"}, "must begin with a letter"),
        ({"name": "tile-"}, "not at the end"),
        ({"suspend": True, "shutdown": False, "ttl": 0}, "must give its cluster back"),
        ({"shutdown": False, "ttl": 5}, "ttl is 5 s, but a cluster that is kept has none"),
        ({"ttl": -1}, "ttl is -1 s"),
        ({"deadline": 0}, "--deadline is 0 s, but must be more than 0"),
        ({"waiting_deadline": -3}, "--waiting-deadline is -3 s"),
        ({"retries": -1}, "retries is -1"),
        ({"submission": "InteractiveMode"}, "use --retries 0"),
        ({"submission": "Telepathy"}, "must be one of: K8sJobMode, HTTPMode"),
        ({"queue": "team", "shutdown": False, "ttl": 0}, "queued job must give its cluster back"),
        ({"image": "docker.io/rayproject/ray:2.9.0-gpu"}, "holds Ray 2.9.0, but this tuner uses"),
        ({"min_workers": 3}, "workers are 3 to 2"),
        ({"max_workers": 0}, "at least 1"),
        ({"tolerations": ("gpu:Sometimes",)}, "must be like gpu=yes:NoSchedule"),
        ({"environment": {"AWS_SECRET_ACCESS_KEY": "hush"}}, "AWS_SECRET_ACCESS_KEY seems"),
        ({"environment": {"X": "postgresql://u:hush@h/d"}}, "variable X holds a password"),
        ({"entrypoint": ("a", "--storage", "postgresql://u:hush@h/d")}, "--storage holds a"),
        ({"entrypoint": ("a", "--storage=postgresql://u:hush@h/d")}, "--storage holds a"),
    ],
)
def test_what_the_operator_refuses_is_refused_before(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ClusterError) as caught:
        changed(**changes)
    assert reason in str(caught.value)
    assert "hush" not in str(caught.value)


def edited(**changes: Any) -> dict[str, Any]:
    manifest = copy.deepcopy(changed())
    manifest["spec"] |= changes
    return manifest


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"clusterSelector": {"a": "b"}}, "either a cluster of its own or a selector"),
        ({"submissionMode": "SidecarMode"}, "has no submitter pod"),
    ],
)
def test_manifests_of_others_are_held_to_the_same_rules(
    changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ClusterError, match=reason):
        check_rayjob(edited(**changes))


def test_a_selected_cluster_has_rules_of_its_own() -> None:
    manifest = edited(clusterSelector={"ray.io/cluster": "c"})
    del manifest["spec"]["rayClusterSpec"]
    with pytest.raises(ClusterError, match="cannot be retried"):
        check_rayjob(manifest)
    manifest["spec"] |= {"backoffLimit": 0, "suspend": True}
    with pytest.raises(ClusterError, match="cannot be suspended"):
        check_rayjob(manifest)
    manifest["spec"] |= {"suspend": False, "submissionMode": "SidecarMode"}
    del manifest["spec"]["submitterPodTemplate"]
    with pytest.raises(ClusterError, match="SidecarMode needs a cluster of its own"):
        check_rayjob(manifest)


def test_sizes_are_checked() -> None:
    with pytest.raises(ClusterError, match="memory is 'much'"):
        PodSize(1, "much")
    with pytest.raises(ClusterError, match="more than 0 processors"):
        PodSize(0, "1Gi")
    assert head_memory(4) == "8448Mi"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("postgresql://user:hush@host/db", True),
        ("postgresql://user@host/db", False),
        ("postgresql://host/db?password=hush", True),
        ("https://h/x?X-Amz-Credential=abc", True),
        ("s3://bucket/prefix", False),
        ("steps=800", False),
        ("a:b@c", False),
        ("http://[", False),
    ],
)
def test_passwords_in_urls_are_seen(text: str, secret: bool) -> None:
    assert has_password(text) is secret


def test_the_same_request_has_the_same_fingerprint() -> None:
    assert dataclasses.replace(JOB).fingerprint == JOB.fingerprint
    assert dataclasses.replace(JOB, max_workers=3).fingerprint != JOB.fingerprint
