"""The stores of a cluster, real ones: PostgreSQL for the ledger, SeaweedFS for files."""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from sqlalchemy import create_engine, make_url, text
from typer.testing import CliRunner

from tests.registry.conftest import write_toy
from tests.registry.test_package import pictures, png
from tests.study.toys import SPACE
from tuner.cli.main import app
from tuner.study.depot import Depot, check_place
from tuner.study.ledger import Ledger, open_storage

NAMES = ("weights", "whole")


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


def test_many_drivers_meet_in_a_new_database(database: str) -> None:
    admin = create_engine(
        database.replace("postgresql://", "postgresql+psycopg2://", 1),
        isolation_level="AUTOCOMMIT",
    )
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE newborn"))
    admin.dispose()
    url = make_url(database).set(database="newborn").render_as_string(hide_password=False)
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(lambda _: open_storage(url), range(4)))
    assert [store.get_all_studies() for store in opened] == [[]] * 4


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
