"""A study on a cluster, one node of which dies in the middle: nothing is lost, nothing is twice.

    OMP_NUM_THREADS=1 python benchmarks/cluster_study.py

Real servers on loopback: a Ray head without processors of its own and two worker nodes, SeaweedFS
as S3, PostgreSQL, and an MLflow server with basic authentication on both. The study is sent by
`tuner submit --ray-address`; its data, its trials' files and its artifacts are in S3, its ledger is
in PostgreSQL. Where this process may mount, each node's working folder is a disk of its own. Once
a third of the trials has ended, every process of a node that trains is killed. Wanted: 20 trials in
the ledger and as many runs in MLflow, none twice, failed or without an end, no rung recorded twice,
and a registered challenger.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import boto3
from idle import write_images
from servers import (
    BIN,
    BUCKET,
    RayNode,
    may_mount,
    mlflow_server,
    postgres,
    ray_nodes,
    seaweed,
    wait_for,
)

RESULT = Path(__file__).with_suffix(".json")
STUDY = "grown"
CATEGORY = "part"
TRIALS = 20
LONGEST = 3600.0


def tuner(*arguments: str) -> Any:
    """The command line, as users run it; what it prints as JSON."""
    command = [str(BIN / "tuner"), *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def send(dashboard: str, steps: int) -> dict[str, Any]:
    arguments = [
        "--ray-address", dashboard, "--name", STUDY, "--category", CATEGORY,
        "--data", f"s3://{BUCKET}/data", "--storage-path", f"s3://{BUCKET}/studies",
        "--budget", str(TRIALS), "--parallel", "2", "--cpus-per-worker", "1", "--size", "32",
        "--set", f"steps={steps}", "--set", "width=4", "--set", "batch_size=4", "--no-export",
    ]  # fmt: skip
    return {"command": ["tuner", "submit", *arguments[2:]], **tuner("submit", *arguments)}


def upload(folder: Path) -> int:
    """Copy files to `data/` in the bucket; how many."""
    client = boto3.client("s3")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in files:
        client.upload_file(str(path), BUCKET, f"data/{path.relative_to(folder)}")
    return len(files)


def entries() -> list[Any]:
    from tuner.study.ledger import Ledger, StudyNotFound

    try:
        return Ledger.read(os.environ["TUNER_STORAGE"], STUDY).entries()
    except StudyNotFound:
        return []


def job_state(dashboard: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = tuner("jobs", "--ray-address", dashboard)["jobs"]
    return next(job for job in found if job["name"] == STUDY)


def kill_in_the_middle(
    node: RayNode, dashboard: str, began: float
) -> tuple[dict[str, Any], dict[int, Any]]:
    """Kill a node once a third of the trials has ended; what was there then."""

    looked = 0.0

    def ready() -> list[Any] | None:
        nonlocal looked
        if time.monotonic() - looked > 30:
            looked = time.monotonic()
            if (job := job_state(dashboard))["over"]:
                raise SystemExit(f"the job ended too early: {job}")
        found = entries()
        ended = sum(entry.state != "running" for entry in found)
        return found if ended >= TRIALS // 3 and len(found) >= ended + 2 else None

    found = wait_for(ready, "a third of the trials", LONGEST, pause=1.0)
    node.kill()
    at = {
        "node": node.name,
        "seconds": round(time.monotonic() - began, 1),
        "ended": sum(entry.state != "running" for entry in found),
        "running": {str(e.number): e.rung for e in found if e.state == "running"},
    }
    return at, {entry.number: entry for entry in found if entry.state != "running"}


def seen(before: dict[int, Any]) -> dict[str, Any]:
    """What ledger and tracking store hold at the end."""
    found = entries()
    after = {entry.number: entry for entry in found}
    rungs = {entry.number: [record["rung"] for record in entry.records] for entry in found}
    return {
        "trials": len(found),
        "numbers_twice": len(found) - len(after),
        "by_state": dict(Counter(entry.state for entry in found)),
        "reasons_of_failures": [entry.reason for entry in found if entry.state == "failed"],
        "ended_trials_that_changed": sum(after.get(n) != entry for n, entry in before.items()),
        "rungs_recorded_twice": sum(len(r) - len(set(r)) for r in rungs.values()),
        "rungs_missing": sum(r != list(range(1, len(r) + 1)) for r in rungs.values()),
        **tracked(),
    }


def tracked() -> dict[str, Any]:
    from mlflow import MlflowClient

    uri = os.environ["TUNER_TRACKING_URI"]
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name("tuner")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    trials = [run for run in runs if "tuner.trial" in run.data.tags]
    challenger = client.get_model_version_by_alias(CATEGORY, "challenger")
    return {
        "runs_of_trials": len(trials),
        "runs_twice": len(trials) - len({run.data.tags["tuner.trial"] for run in trials}),
        "runs_without_an_end": sum(run.info.status == "RUNNING" for run in runs),
        "artifacts": experiment.artifact_location.split(":")[0],
        "challenger_version": int(challenger.version),
        "challenger_of_trial": int(challenger.tags["tuner.trial"]),
    }


def kept(found: dict[str, Any]) -> bool:
    nothing = (
        "numbers_twice", "ended_trials_that_changed", "rungs_recorded_twice", "rungs_missing",
        "runs_twice", "runs_without_an_end",
    )  # fmt: skip
    return (
        found["trials"] == found["runs_of_trials"] == TRIALS
        and not {"running", "failed"} & set(found["by_state"])
        and not any(found[name] for name in nothing)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60, help="of training of each trial")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="g")))
        root.chmod(0o755)
        database = stack.enter_context(postgres(root / "sql", ("ledger", "runs", "users")))
        bucket = stack.enter_context(seaweed(root / "weed"))
        os.environ.update(bucket, TUNER_STORAGE=database("ledger"))
        images = upload(write_images(root / "images" / CATEGORY).parent)
        tracking = stack.enter_context(
            mlflow_server(
                root / "mlflow", database("runs"), database("users"), f"s3://{BUCKET}/mlflow",
                bucket,
            )
        )  # fmt: skip
        own_disk = root / "home" if may_mount() else None
        os.environ.update(
            tracking,
            TUNER_HOME=str(root / "home"),
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN=secrets.token_hex(32),
        )
        _, dashboard, nodes = stack.enter_context(
            ray_nodes(root / "ray", {"one": 1, "two": 1}, dict(os.environ), own_disk)
        )
        print("servers are ready", file=sys.stderr)
        began = time.monotonic()
        sent = send(dashboard, given.steps)
        killed, before = kill_in_the_middle(nodes["two"], dashboard, began)
        print(f"killed a node: {killed}", file=sys.stderr)
        job = wait_for(
            lambda: (state := job_state(dashboard))["over"] and state, "the job", LONGEST, 10.0
        )
        wall = time.monotonic() - began
        if job["state"] != "succeeded":
            logs = subprocess.run(
                [str(BIN / "tuner"), "logs", STUDY, "--ray-address", dashboard],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            raise SystemExit(f"the job did not succeed: {job}\n{logs.stdout[-4000:]}")
        found = seen(before)
    result = {
        "processors": os.cpu_count(),
        "nodes": {"head": 0, "one": 1, "two": 1},
        "disk_of_each_node": own_disk is not None,
        "command": sent["command"],
        "images": images,
        "killed": killed,
        "job": job["state"],
        "wall_seconds": round(wall, 1),
        **found,
        "kept": kept(found),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    if not result["kept"]:
        raise SystemExit("something was lost, or counted twice")


if __name__ == "__main__":
    main()
