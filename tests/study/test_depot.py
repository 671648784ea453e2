"""Files of trials that outlive their machine: in a folder, and in an S3 store that falters."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tuner.study.depot import Depot, DepotError, check_place

NAMES = ("weights", "whole")


class Faltering(ThreadingHTTPServer):
    """Passes requests on to a store, and answers 503 to as many as `refusals` says."""

    daemon_threads = True

    def __init__(self, store: int) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.store, self.refusals, self.refused = store, 0, 0


class Passing(BaseHTTPRequestHandler):
    server: Faltering
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self._body()
        if self.server.refusals:
            self.server.refusals -= 1
            self.server.refused += 1
            self._send(503, {}, b"<Error><Code>SlowDown</Code></Error>")
            return
        onward = http.client.HTTPConnection("127.0.0.1", self.server.store)
        onward.request(self.command, self.path, body, dict(self.headers))
        reply = onward.getresponse()
        content = reply.read()
        kept = {k: v for k, v in reply.getheaders() if k.lower() in ("etag", "last-modified")}
        if self.command == "HEAD":
            kept["Content-Length"] = reply.getheader("Content-Length") or "0"
        self._send(reply.status, kept, content)
        onward.close()

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        del self.headers["Transfer-Encoding"]
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def _send(self, code: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faltering]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    server = Faltering(moto.get_host_and_port()[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-name")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    boto3.client("s3").create_bucket(Bucket="runs")
    yield server
    server.shutdown()
    server.server_close()
    moto.stop()


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
