"""The way to an API server, by the usual rules of kubectl."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError

SECONDS = 30
_NO_CLIENT = "Kubernetes needs its client; install it by: pip install 'tuner[cluster]'"
_NO_CONFIG = (
    "no kubeconfig: {path} does not exist and this is no pod; set KUBECONFIG, or --kubeconfig, or "
    "write the manifest by --dry-run and send it by kubectl apply -f"
)


@dataclass(frozen=True)
class Access:
    """The library's interfaces, and the namespace that the kubeconfig prefers."""

    custom: Any
    core: Any
    namespace: str


def connect(kubeconfig: str | None = None, context: str | None = None) -> Access:
    """Read a kubeconfig (given, `$KUBECONFIG`, `~/.kube/config`), or use the pod's own account.

    Nothing is sent. Raises ClusterError where there is none, or it cannot be read.
    """
    try:
        from kubernetes import client, config
        from kubernetes.config import ConfigException
    except ImportError:
        raise ClusterError(_NO_CLIENT) from None
    path = kubeconfig or os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    found = any(Path(part).is_file() for part in path.split(os.pathsep))
    settings = client.Configuration()
    namespace = "default"
    try:
        if found:
            config.load_kube_config(path, context, settings, persist_config=False)
            contexts, active = config.list_kube_config_contexts(path)
            if context:
                active = next(known for known in contexts if known["name"] == context)
            namespace = active["context"].get("namespace") or namespace
        elif kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(settings)
            own = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
            namespace = own.read_text().strip() if own.is_file() else namespace
        else:
            raise ClusterError(_NO_CONFIG.format(path=path))
    except ConfigException as error:
        raise ClusterError(
            f"the kubeconfig {path} cannot be used ({error}); check it by: kubectl config view"
        ) from None
    settings.retries = 3
    api = client.ApiClient(settings)
    return Access(client.CustomObjectsApi(api), client.CoreV1Api(api), namespace)
