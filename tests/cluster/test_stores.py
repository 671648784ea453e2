"""The stores of a cluster, real ones: PostgreSQL for the ledger, SeaweedFS for files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from sqlalchemy import create_engine, make_url, text

from tests.study.toys import SPACE
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
