"""A study that is begun on one machine and goes on on another: nothing shared but two stores."""

from __future__ import annotations

import contextlib
import shutil
import socketserver
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import write_mvtec
from tuner import postgres
from tuner.job import launch
from tuner.request import check_durable
from tuner.status import study_status
from tuner.study.config import StudyConfig
from tuner.study.database import LedgerUnreachable
from tuner.study.home import Home
from tuner.study.ledger import Ledger, StudyTaken, open_storage
from tuner.study.plan import Machine


def config(tmp_path: Path, **changes: object) -> StudyConfig:
    asked = {
        "name": "moved", "category": "part", "data": str(tmp_path / "images"), "budget": "2",
        "methods": ("filter-memory",), "size": (32, 32), "export": False,
        "engine": "local", "cpus_per_worker": 1, "early_stopping": False,
        "storage_path": str(tmp_path / "depot"),
        "tracking_uri": f"sqlite:///{tmp_path / 'mlflow.db'}",
    }  # fmt: skip
    return StudyConfig.model_validate({**asked, **changes})


@pytest.mark.heavy
def test_a_study_goes_on_on_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "depot").mkdir()
    write_mvtec(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    monkeypatch.setenv("TUNER_STORAGE", url)
    first, second = Home(tmp_path / "one"), Home(tmp_path / "two")
    launch(config(tmp_path), first, resume=True)
    before = Ledger.read(url, "moved").entries()
    shutil.rmtree(first.path)

    assert study_status("moved", second)["spent"] == 1.0
    with pytest.raises(StudyTaken, match="tuner resume moved"):
        launch(config(tmp_path), second)
    summary = launch(config(tmp_path, budget="3"), second, resume=True)
    after = Ledger.read(url, "moved").entries()
    assert after[:2] == before and len(after) == 3
    assert summary["trials"]["finished"] == 3
    assert Path(summary["folder"]).is_relative_to(second.path)


def test_what_would_be_lost_with_its_machine_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    with pytest.raises(ValueError, match="the ledger is a file on this machine"):
        check_durable(config(tmp_path), home)
    monkeypatch.setenv("TUNER_STORAGE", "postgresql://u@h/d")
    with pytest.raises(ValueError, match="--storage-path s3://bucket/prefix"):
        check_durable(config(tmp_path, engine="ray", address="auto", storage_path=None), home)
    with pytest.raises(ValueError, match="tracking store is on this machine"):
        check_durable(config(tmp_path), home)
    monkeypatch.setenv("TUNER_TRACKING_URI", "http://mlflow:5000")
    check_durable(config(tmp_path, tracking_uri=None), home)


def test_what_is_written_down_holds_no_address_of_a_store(tmp_path: Path) -> None:
    asked = config(tmp_path, storage="postgresql://u:hush@h/d", tracking_uri="http://u:hush@h")
    assert "hush" not in str(asked.shared())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:hush@127.0.0.1:9/d", "cannot be opened"),
        ("no-database", "is no database URL"),
        ("postgresql+psycopg9://u:hush@h/d", "psycopg9"),
    ],
)
def test_a_ledger_that_cannot_be_opened_is_said_without_its_password(url: str, said: str) -> None:
    with pytest.raises(LedgerUnreachable, match=said) as caught:
        open_storage(url)
    assert "hush" not in str(caught.value)


@contextlib.contextmanager
def mute_server(*, signs_in: bool) -> Iterator[str]:
    """A PostgreSQL server that stands still: it takes connections and says nothing, at once or
    after signing the user in."""

    def parameter(name: bytes, value: bytes) -> bytes:
        return b"S" + struct.pack(">I", len(name) + len(value) + 6) + name + b"\0" + value + b"\0"

    welcome = (
        struct.pack(">cII", b"R", 8, 0)
        + parameter(b"client_encoding", b"UTF8")
        + parameter(b"DateStyle", b"ISO")
        + parameter(b"standard_conforming_strings", b"on")
        + struct.pack(">cIc", b"Z", 5, b"I")
    )

    class Mute(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while signs_in and (asked := self.request.recv(1024)):
                # The first word asks for encryption.
                self.request.sendall(b"N" if len(asked) == 8 else welcome)
                if len(asked) != 8:
                    break
            ended.wait(60)

    ended = threading.Event()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mute) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"postgresql://u:hush@127.0.0.1:{server.server_address[1]}/d"
        finally:
            ended.set()
            server.shutdown()


@pytest.mark.parametrize("signs_in", [False, True])
def test_a_ledger_whose_server_stands_still_is_waited_for_with_an_end(
    signs_in: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "ANSWER_SECONDS" if signs_in else "CONNECT_SECONDS", 0.5)
    with mute_server(signs_in=signs_in) as url:
        with pytest.raises(LedgerUnreachable, match=r"has not answered for 0\.5 s") as caught:
            open_storage(url)
        with postgres.within(0.25), pytest.raises(LedgerUnreachable, match=r"for 0\.25 s"):
            open_storage(url)
    said, port = str(caught.value), url.split(":")[-1].removesuffix("/d")
    assert f"pg_isready -h 127.0.0.1 -p {port}, and start it again" in said and "hush" not in said


def test_gpus_of_a_cluster_count_where_this_machine_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    asked = {"engine": "ray", "address": "auto", "parallel": 8, "gpus_per_worker": 0.25}
    assert Machine.of(config(tmp_path, **asked)).gpus == 2
    assert Machine.of(config(tmp_path, **asked)).preset == "gpu"
    assert Machine.of(config(tmp_path)).gpus == 0
