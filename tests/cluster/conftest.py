"""An API server to speak to: one of ours, or the real one of `TUNER_TEST_KUBECONFIG`.

A real one must know KubeRay's resource definitions; no operator and no scheduler may run, for the
tests do their part. What needs a kubelet (logs) is tested on ours alone.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.kube_access import Access, connect
from cluster.kubernetes_jobs import KubernetesJobs
from cluster.rayjob import GROUP, PLURAL, VERSION
from tests.cluster.api_server import ApiServer


@pytest.fixture(scope="session")
def server() -> Iterator[ApiServer]:
    api = ApiServer()
    thread = threading.Thread(target=api.serve_forever, daemon=True)
    thread.start()
    yield api
    api.shutdown()
    api.server_close()


def write_kubeconfig(path: Path, cluster: dict[str, Any], token: str, namespace: str) -> Path:
    context = {"cluster": "c", "user": "u", "namespace": namespace}
    content = {
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": context}],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content))
    return path


@dataclass
class Place:
    """A namespace of its own on the server, and the operator's part in it."""

    access: Access
    cluster: dict[str, Any]
    namespace: str
    kubeconfig: Path

    @property
    def jobs(self) -> KubernetesJobs:
        return KubernetesJobs(self.access, self.namespace)

    def operator(self, name: str, **status: Any) -> None:
        """Write the status of a RayJob, as the operator would."""
        self.access.custom.patch_namespaced_custom_object_status(
            GROUP, VERSION, self.namespace, PLURAL, name, {"status": status}
        )

    def pod(self, name: str, labels: dict[str, str], status: dict[str, Any]) -> None:
        spec = {"containers": [{"name": "ray-worker", "image": "tuner:none"}]}
        body = {"metadata": {"name": name, "labels": labels}, "spec": spec}
        self.access.core.create_namespaced_pod(self.namespace, body)
        self.access.core.patch_namespaced_pod_status(name, self.namespace, {"status": status})

    def without_rights(self, path: Path) -> Path:
        """A kubeconfig of an account that may do nothing."""
        core = self.access.core
        core.create_namespaced_service_account(self.namespace, {"metadata": {"name": "nobody"}})
        made = core.create_namespaced_service_account_token(
            "nobody", self.namespace, {"spec": {"audiences": []}}
        )
        return write_kubeconfig(path, self.cluster, made.status.token, self.namespace)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    given = os.environ.get("TUNER_TEST_KUBECONFIG")
    namespace = f"tuner-test-{uuid.uuid4().hex[:8]}"
    if given:
        path = Path(given)
        cluster = yaml.safe_load(path.read_text())["clusters"][0]["cluster"]
    else:
        cluster = {"server": request.getfixturevalue("server").url}
        path = write_kubeconfig(tmp_path / "admin", cluster, "admin-token", namespace)
    access = connect(str(path))
    access.core.create_namespace({"metadata": {"name": namespace}})
    yield Place(access, cluster, namespace, path)
    access.core.delete_namespace(namespace)
