"""What an API server refuses, in words and with a cure."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from cluster.errors import ClusterError, missing

RIGHTS = "cluster/manifests gives the rights that are needed (role tuner-submit)"


@contextlib.contextmanager
def translated(namespace: str, name: str = "") -> Iterator[None]:
    """Turn what the client library raises into ClusterErrors."""
    import urllib3.exceptions
    from kubernetes.client.exceptions import ApiException

    try:
        yield
    except ApiException as error:
        raise explained(error, namespace, name) from None
    except urllib3.exceptions.HTTPError as error:
        raise ClusterError(
            f"the API server does not answer ({type(error).__name__}); check the network and the "
            "server in your kubeconfig (kubectl cluster-info)"
        ) from None


def explained(error: Any, namespace: str, name: str) -> ClusterError:
    """A ClusterError for a reply of the API server."""
    status = body_of(error)
    details = status.get("details") or {}
    message = str(status.get("message") or error.reason or "no reason given")
    if error.status == 401:
        return ClusterError(
            "the API server does not accept the credentials of your kubeconfig; log in again"
        )
    if error.status == 403:
        return _forbidden(message, namespace)
    if error.status == 404:
        return _not_found(str(details.get("kind") or ""), namespace, name)
    if error.status in (400, 422):
        causes = details.get("causes") or ()
        said = "; ".join(f"{c.get('field')}: {c.get('message')}" for c in causes) or message
        return ClusterError(
            f"the API server refuses the job: {said}; where a field is unknown, the KubeRay "
            "operator is too old (1.7 is known to be enough)"
        )
    return ClusterError(f"the API server answered {error.status}: {message[:300]}; try again")


def _forbidden(message: str, namespace: str) -> ClusterError:
    if "exceeded quota" in message:
        return ClusterError(
            f"the quota of namespace {namespace} is exceeded ({message}); ask for less, stop a job "
            "(tuner jobs, tuner stop), or have the quota raised"
        )
    if "is being terminated" in message:
        return ClusterError(f"the namespace {namespace} is being deleted; use another --namespace")
    return ClusterError(f"no rights in namespace {namespace} ({message}); {RIGHTS}")


def _not_found(kind: str, namespace: str, name: str) -> ClusterError:
    if kind == "namespaces":
        return ClusterError(
            f"the namespace {namespace} does not exist; create it (kubectl create namespace "
            f"{namespace}) or choose another --namespace"
        )
    if not kind:
        return ClusterError(
            "this cluster does not know RayJobs: the KubeRay operator is not installed, or older "
            "than ray.io/v1; docs/cluster.md shows how to install it"
        )
    return missing(name, f"namespace {namespace}")


def body_of(error: Any) -> dict[str, Any]:
    """The Status object of a reply; empty where the reply is none."""
    try:
        found = json.loads(error.body or "{}")
    except (ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
