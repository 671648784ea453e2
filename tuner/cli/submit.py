"""`tuner submit`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tuner.cli.cluster_options import Kubeconfig, KubeContext, Namespace, RayAddress, jobs_of
from tuner.cli.errors import explained
from tuner.cli.output import only_json, print_json
from tuner.cli.study_options import HelpAll, given_arguments, takes_study

PANEL = "Cluster"


@takes_study
def submit(
    context: typer.Context,
    study: Callable[[], dict[str, Any]],
    image: Annotated[
        str | None, typer.Option(help="Image with tuner in it.", rich_help_panel=PANEL)
    ] = None,
    min_workers: Annotated[
        int, typer.Option(help="Worker pods that always run.", rich_help_panel=PANEL)
    ] = 0,
    max_workers: Annotated[
        int, typer.Option(help="Worker pods at most.", rich_help_panel=PANEL)
    ] = 2,
    cpus_per_node: Annotated[
        float, typer.Option(help="Processors of a worker pod.", rich_help_panel=PANEL)
    ] = 4,
    gpus_per_node: Annotated[
        int, typer.Option(help="GPUs of a worker pod.", rich_help_panel=PANEL)
    ] = 1,
    worker_memory: Annotated[
        str, typer.Option(help="Memory of a worker pod.", rich_help_panel=PANEL)
    ] = "16Gi",
    head_cpus: Annotated[
        float, typer.Option(help="Processors of the head pod.", rich_help_panel=PANEL)
    ] = 2,
    head_memory: Annotated[
        str | None,
        typer.Option(help="Memory of the head pod; by --max-workers.", rich_help_panel=PANEL),
    ] = None,
    gpu_resource: Annotated[
        str, typer.Option(help="Name of a GPU as resource.", rich_help_panel=PANEL)
    ] = "nvidia.com/gpu",
    secret: Annotated[
        list[str] | None,
        typer.Option(
            help="Secret whose keys become environment variables. Repeatable.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    pull_secret: Annotated[
        list[str] | None,
        typer.Option(help="Secret of a private registry. Repeatable.", rich_help_panel=PANEL),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE that is no secret. Repeatable.", rich_help_panel=PANEL),
    ] = None,
    service_account: Annotated[
        str | None, typer.Option(help="Account of the pods.", rich_help_panel=PANEL)
    ] = None,
    toleration: Annotated[
        list[str] | None,
        typer.Option(help="key=value:Effect. Repeatable.", rich_help_panel=PANEL),
    ] = None,
    node_selector: Annotated[
        list[str] | None,
        typer.Option(help="label=value of worker nodes. Repeatable.", rich_help_panel=PANEL),
    ] = None,
    queue: Annotated[
        str | None, typer.Option(help="Kueue local queue.", rich_help_panel=PANEL)
    ] = None,
    suspend: Annotated[
        bool, typer.Option(help="Send it, but do not start it.", rich_help_panel=PANEL)
    ] = False,
    keep_cluster: Annotated[
        bool, typer.Option(help="Leave the cluster when the job is over.", rich_help_panel=PANEL)
    ] = False,
    ttl: Annotated[
        int | None,
        typer.Option(help="Seconds that the cluster stays after; 600.", rich_help_panel=PANEL),
    ] = None,
    retries: Annotated[
        int, typer.Option(help="New clusters after a failure.", rich_help_panel=PANEL)
    ] = 2,
    deadline: Annotated[
        int | None, typer.Option(help="Seconds that it may run.", rich_help_panel=PANEL)
    ] = None,
    waiting_deadline: Annotated[
        int | None, typer.Option(help="Seconds that it may wait.", rich_help_panel=PANEL)
    ] = None,
    submission_mode: Annotated[
        str, typer.Option(help="K8sJobMode, SidecarMode or HTTPMode.", rich_help_panel=PANEL)
    ] = "K8sJobMode",
    ray_token: Annotated[
        bool, typer.Option(help="The Ray cluster asks for a token.", rich_help_panel=PANEL)
    ] = True,
    working_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder sent along, with --ray-address; the cluster's installation if missing.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    wait: Annotated[
        float, typer.Option(help="Seconds to watch it start.", rich_help_panel=PANEL)
    ] = 0,
    ray_address: RayAddress = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    kube_context: KubeContext = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be sent, as YAML; send nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output.")
    ] = False,
    help_all: HelpAll = False,
) -> None:
    """Send a study to Kubernetes (KubeRay), or to a running Ray cluster.

    Takes every option of `tuner launch`. The same command twice is one job; a job that is retried
    goes on with its study. Secrets are named, never given: TUNER_STORAGE (the ledger),
    TUNER_TRACKING_URI (MLflow), AWS_... and MLFLOW_TRACKING_... are keys of a --secret.
    """
    with explained(), only_json(as_json):
        from cluster.rayjob import as_yaml
        from tuner.cli.parsing import parse_pairs
        from tuner.submission import Request, plan_submission, send

        pods = {
            "image": image,
            "min_workers": min_workers,
            "max_workers": max_workers,
            "worker": (cpus_per_node, worker_memory, gpus_per_node),
            "head": (head_cpus, head_memory),
            "gpu_resource": gpu_resource,
            "secrets": tuple(secret or ()),
            "pull_secrets": tuple(pull_secret or ()),
            "environment": parse_pairs("--env", env or []),
            "service_account": service_account,
            "tolerations": tuple(toleration or ()),
            "node_selectors": parse_pairs("--node-selector", node_selector or []),
            "queue": queue,
            "suspend": suspend,
            "shutdown": not keep_cluster,
            "ttl": ttl,
            "retries": retries,
            "deadline": deadline,
            "waiting_deadline": waiting_deadline,
            "submission": submission_mode,
            "ray_token": ray_token,
        }
        request = Request(study(), tuple(given_arguments(context)), pods, working_dir)
        plan = plan_submission(request, ray_address, namespace)
        if dry_run:
            result = plan
        else:
            place = jobs_of(ray_address, namespace, kubeconfig, kube_context)
            sent = send(place, plan, wait, lambda state: typer.echo(state.line(), err=True))
            result = sent.as_dict()
            if not as_json:
                typer.echo(sent.line())
    if as_json:
        print_json(result)
    elif dry_run:
        typer.echo(as_yaml(plan), nl=False)
