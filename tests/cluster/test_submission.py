from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from cluster.errors import ClusterError
from tests.cluster.conftest import Place
from tuner.cli.main import app
from tuner.submission import stable_name

IMAGE = ["--image", "registry/tuner:1", "--secret", "tuner", "--storage-path", "s3://b/p"]
Cli = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Runs a command in this process, where no cluster is known."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    for name in ("KUBERNETES_SERVICE_HOST", "TUNER_RAY_ADDRESS", "TUNER_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def planned(cli: Cli, *arguments: str) -> dict[str, Any]:
    done = cli("submit", *IMAGE, *arguments, "--dry-run")
    assert done.exit_code == 0, done.output
    manifest: dict[str, Any] = yaml.safe_load(done.stdout)
    return manifest


def command_of(manifest: dict[str, Any]) -> list[str]:
    return shlex.split(manifest["spec"]["entrypoint"])


def test_every_option_of_launch_goes_along_as_it_was_given(cli: Cli) -> None:
    given = [
        "--category", "metal nut", "--budget", "6gpuh", "--data", "s3://parts/sets/one",
        "--no-early-stopping", "--set", "steps=800", "--set", "width=4", "--seed", "3",
    ]  # fmt: skip
    command = command_of(planned(cli, *given))
    assert command[:2] == ["tuner", "launch"]
    options = command[2:]
    pairs = set(itertools.pairwise(options))
    for pair in (("--category", "metal nut"), ("--budget", "6gpuh"), ("--set", "steps=800"),
                 ("--set", "width=4"), ("--seed", "3"), ("--address", "auto")):  # fmt: skip
        assert pair in pairs
    assert {"--no-early-stopping", "--resume", "--durable"} <= set(options)
    assert options.count("--category") == options.count("--name") == 1
    assert "--rungs" not in options


def test_launch_and_submit_take_the_same_options() -> None:
    from typer.main import get_command

    commands = get_command(app).commands  # type: ignore[attr-defined]
    launch = {option for p in commands["launch"].params for option in p.opts}
    submit = {option for p in commands["submit"].params for option in p.opts}
    assert launch - submit == {"--resume", "--durable", "--verbose", "-v"}


def test_what_came_from_this_machine_alone_is_left_here(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNER_STORAGE", "postgresql://u:hush@h/d")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    assert "hush" not in json.dumps(planned(cli))


def test_the_same_request_has_the_same_name(cli: Cli) -> None:
    one, two = planned(cli, "--seed", "1"), planned(cli, "--seed", "1")
    other = planned(cli, "--seed", "2")
    assert one == two
    assert one["metadata"]["name"] != other["metadata"]["name"]
    name = one["metadata"]["name"]
    assert command_of(one)[command_of(one).index("--name") + 1] == name
    assert stable_name("3 Ø " + "x" * 60, []).startswith("study-3-xxx")
    assert len(stable_name("x" * 60, [])) == 47


@pytest.mark.parametrize(
    ("arguments", "parallel", "gpus", "cpus"),
    [
        ([], "2", "1", "4"),
        (["--gpus-per-worker", "0.25"], "8", None, "1"),
        (["--gpus-per-node", "0"], "8", "0", "1"),
        (["--gpus-per-node", "4", "--workers-per-trial", "8"], "1", "1", "1"),
        (["--parallel", "3"], None, "1", "4"),
    ],
)
def test_trials_fill_the_pods(
    cli: Cli, arguments: list[str], parallel: str | None, gpus: str | None, cpus: str
) -> None:
    command = command_of(planned(cli, *arguments))
    follows = dict(itertools.pairwise(command))
    assert parallel is None or follows["--parallel"] == parallel
    assert gpus is None or follows["--gpus-per-worker"] == gpus
    assert follows["--cpus-per-worker"] == cpus
    assert command.count("--parallel") == command.count("--gpus-per-worker") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--secret", "s"], "which image?"),
        (["--image", "i"], "put the URL of a PostgreSQL database"),
        (["--image", "i", "--secret", "s"], "--storage-path s3://bucket/prefix"),
        ([*IMAGE, "--data", "./lids", "--category", "lids"], "copy it to s3://bucket/prefix"),
        ([*IMAGE, "--data", "s3://parts/x"], "Give --category"),
        ([*IMAGE, "--storage", "postgresql://u:hush@h/d"], "--storage holds a password"),
        ([*IMAGE, "--budget", "soon"], "budget is 'soon'"),
        ([*IMAGE, "--method", "magic"], "must be one of"),
        ([*IMAGE, "--name", "Tile_1"], "choose another --name"),
        ([*IMAGE, "--engine", "local"], "use: tuner launch"),
        ([*IMAGE, "--gpus-per-worker", "2"], "but a pod has 1"),
        ([*IMAGE, "--workers-per-trial", "9"], "no room for it"),
        ([*IMAGE, "--env", "A"], "--env must be like NAME=VALUE"),
        ([*IMAGE, "--worker-memory", "lots"], "memory is 'lots'"),
        ([*IMAGE, "--working-dir", "."], "goes with --ray-address"),
        (["--ray-address", "10.0.0.1:6379"], "must be the address of a dashboard"),
        ([*IMAGE], "no kubeconfig"),
    ],
)
def test_bad_requests_are_one_line_and_nothing_is_sent(
    cli: Cli, arguments: list[str], said: str
) -> None:
    done = cli("submit", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr and len(done.stderr.splitlines()) == 1
    assert "hush" not in done.output


def test_a_job_from_sending_to_its_end(cli: Cli, place: Place) -> None:
    where = ["--kubeconfig", str(place.kubeconfig), "-n", place.namespace]
    sent = json.loads(cli("submit", *IMAGE, *where, "--name", "nuts", "--json").stdout)
    assert sent["created"] and sent["study"] == "nuts" and sent["job"]["state"] == "waiting"
    assert "nothing was sent" in cli("submit", *IMAGE, *where, "--name", "nuts").stdout
    place.operator("nuts", jobStatus="RUNNING", jobDeploymentStatus="Running")
    assert cli("submit", *IMAGE, *where, "--name", "nuts", "--wait", "9").exit_code == 0
    listed = json.loads(cli("jobs", *where, "--json").stdout)["jobs"]
    assert [(job["name"], job["state"]) for job in listed] == [("nuts", "running")]
    assert "running" in cli("jobs", *where).stdout
    assert cli("logs", "nuts", *where).exit_code == 2
    assert json.loads(cli("stop", "nuts", *where, "--json").stdout)["name"] == "nuts"
    assert "no job is named 'nuts'" in cli("stop", "nuts", *where).stderr
    assert "no jobs yet" in cli("jobs", *where).stdout


def test_waiting_ends_with_the_reason_from_the_pods(cli: Cli, place: Place) -> None:
    where = ["--kubeconfig", str(place.kubeconfig), "-n", place.namespace]
    cli("submit", *IMAGE, *where, "--name", "nuts")
    place.operator("nuts", jobDeploymentStatus="Initializing", rayClusterName="nuts-x")
    full = {"type": "PodScheduled", "status": "False", "message": "Insufficient nvidia.com/gpu"}
    place.pod("w", {"ray.io/cluster": "nuts-x"}, {"conditions": [full]})
    done = cli("submit", *IMAGE, *where, "--name", "nuts", "--wait", "9")
    assert done.exit_code == 2
    assert "no node takes it (Insufficient nvidia.com/gpu)" in done.stderr
    assert "tuner stop nuts" in done.stderr


def test_a_ray_address_needs_no_image(cli: Cli) -> None:
    given = ["--ray-address", "http://127.0.0.1:1", "--name", "Nuts.1", "--data", "./lids",
             "--category", "lids", "--env", "A=b", "--working-dir", "."]  # fmt: skip
    plan = yaml.safe_load(cli("submit", *given, "--dry-run").stdout)
    assert plan["name"] == "Nuts.1" and plan["environment"] == {"A": "b"}
    assert "--durable" not in plan["entrypoint"] and "--resume" in plan["entrypoint"]
    assert "no Ray dashboard answers" in cli("submit", *given).stderr


def test_cluster_errors_are_errors_of_the_request() -> None:
    assert issubclass(ClusterError, ValueError)
