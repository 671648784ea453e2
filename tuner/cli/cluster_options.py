"""Options that say which cluster is meant: the same for every command that speaks to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from cluster.kubernetes_jobs import KubernetesJobs
    from cluster.ray_jobs import RayJobs

RayAddress: TypeAlias = Annotated[
    str | None,
    typer.Option(
        envvar="TUNER_RAY_ADDRESS",
        help="Dashboard of a running Ray cluster (http://host:8265); Kubernetes if missing.",
    ),
]
Namespace: TypeAlias = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Kubernetes namespace.")
]
Kubeconfig: TypeAlias = Annotated[
    str | None, typer.Option(help="Kubeconfig; $KUBECONFIG, ~/.kube/config or the pod's own.")
]
KubeContext: TypeAlias = Annotated[
    str | None, typer.Option("--context", help="Context of the kubeconfig.")
]


def jobs_of(
    ray_address: str | None, namespace: str | None, kubeconfig: str | None, context: str | None
) -> KubernetesJobs | RayJobs:
    """The cluster that is meant. Raises ClusterError where it cannot be reached."""
    if ray_address is not None:
        from cluster.ray_jobs import RayJobs

        return RayJobs(ray_address)
    from cluster.kube_access import connect
    from cluster.kubernetes_jobs import KubernetesJobs

    return KubernetesJobs(connect(kubeconfig, context), namespace)
