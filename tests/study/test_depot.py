"""Files of trials that outlive their machine: in a folder, and in an S3 store that falters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faltering import Faltering, faltering_store
from tuner.study.depot import Depot, DepotError, check_place

NAMES = ("weights", "whole")

pytestmark = pytest.mark.heavy


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faltering]:
    with faltering_store(monkeypatch) as server:
        yield server


def written(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        (folder / name).write_text(f"{name} {text}")
    return folder


def round_trip(uri: str, tmp_path: Path) -> None:
    here, there = Depot(uri), tmp_path / "there"
    assert Depot(uri).get(there, NAMES) == 0 and not there.exists()
    here.put(written(tmp_path / "here", "one"), 1, NAMES)
    here.put(written(tmp_path / "here", "two"), 2, NAMES)
    assert Depot(uri).get(there, NAMES) == 2
    assert (there / "weights").read_text() == "weights two"
    # A machine that was cut off comes back with what is old by now.
    here.put(written(tmp_path / "here", "late"), 1, NAMES)
    assert Depot(uri).get(there, NAMES) == 2
    # A machine that dies while it writes leaves the rung before as the newest whole one.
    here.put(written(tmp_path / "here", "half"), 3, NAMES[:1])
    here.put(written(tmp_path / "here", "two"), 2, NAMES)
    assert Depot(uri).get(there, NAMES) == 2
    assert (there / "whole").read_text() == "whole two"


def test_a_folder_keeps_the_newest_whole_rung(tmp_path: Path) -> None:
    check_place(str(tmp_path))
    round_trip(str(tmp_path / "depot" / "0001"), tmp_path)


def test_a_bucket_keeps_the_newest_whole_rung(store: Faltering, tmp_path: Path) -> None:
    check_place("s3://runs/studies")
    round_trip("s3://runs/studies/tile/trials/0001", tmp_path)


def test_a_store_that_falters_is_asked_again(store: Faltering, tmp_path: Path) -> None:
    depot = Depot("s3://runs/tile/0001")
    folder = written(tmp_path / "here", "one")
    store.refusals = 3
    depot.put(folder, 1, NAMES)
    store.refusals = 3
    assert depot.get(tmp_path / "there", NAMES) == 1
    assert store.refused == 6
    assert (tmp_path / "there" / "weights").read_text() == "weights one"


def test_a_store_that_stays_away_is_said_without_secrets(
    store: Faltering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.study.depot.ATTEMPTS", 2)
    depot = Depot("s3://runs/tile/0001")
    store.refusals = 1000
    with pytest.raises(DepotError, match="files cannot be written to s3://runs/tile/0001") as said:
        depot.put(written(tmp_path / "here", "one"), 1, NAMES)
    assert "hush" not in str(said.value)


def test_places_that_are_none(store: Faltering) -> None:
    with pytest.raises(ValueError, match="the bucket does not exist; create it"):
        check_place("s3://nobody/x")
    with pytest.raises(ValueError, match="must be s3://bucket/prefix"):
        check_place("wherever")
