"""`tuner jobs`, `tuner logs` and `tuner stop`."""

from __future__ import annotations

from typing import Annotated

import typer

from tuner.cli.cluster_options import Kubeconfig, KubeContext, Namespace, RayAddress, jobs_of
from tuner.cli.errors import explained
from tuner.cli.output import only_json, print_json

Job = Annotated[str, typer.Argument(help="Name of the job; see: tuner jobs.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def jobs(
    ray_address: RayAddress = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
    as_json: AsJson = False,
) -> None:
    """List the jobs that were sent to a cluster, and what keeps them waiting."""
    with explained(), only_json(as_json):
        found = jobs_of(ray_address, namespace, kubeconfig, context).jobs()
        if not as_json:
            from tuner.screen.tables import print_rows

            print_rows(
                [
                    {
                        "job": job.name,
                        "state": job.state,
                        "job status": job.job_status,
                        "deployment": job.deployment_status,
                        "started": job.started,
                        "reason": job.trouble or job.message,
                    }
                    for job in found
                ],
                "no jobs yet",
            )
    if as_json:
        print_json({"jobs": [job.as_dict() for job in found]})


def logs(
    job: Job,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job is over.")
    ] = False,
    ray_address: RayAddress = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
    as_json: AsJson = False,
) -> None:
    """Show what a job wrote."""
    with explained(), only_json(as_json):
        lines = jobs_of(ray_address, namespace, kubeconfig, context).logs(job, follow=follow)
        if as_json:
            written = list(lines)
        else:
            for line in lines:
                typer.echo(line)
    if as_json:
        print_json({"job": job, "lines": written})


def stop(
    job: Job,
    suspend: Annotated[
        bool, typer.Option(help="Keep the job, give its cluster back (Kubernetes only).")
    ] = False,
    ray_address: RayAddress = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
    as_json: AsJson = False,
) -> None:
    """Stop a job; its study keeps what it finished.

    The same `tuner submit` goes on with it. A job that is over is forgotten.
    """
    with explained(), only_json(as_json):
        from cluster.kubernetes_jobs import KubernetesJobs

        place = jobs_of(ray_address, namespace, kubeconfig, context)
        if isinstance(place, KubernetesJobs):
            found = place.stop(job, suspend=suspend)
        elif suspend:
            raise ValueError("only a job on Kubernetes can be suspended; stop it instead")
        else:
            found = place.stop(job)
    if as_json:
        print_json(found.as_dict())
    else:
        typer.echo(f"{job} ({found.state}): {'suspended' if suspend else 'stopped'}")
