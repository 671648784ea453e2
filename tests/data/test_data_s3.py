from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from tests.faltering import Faltering
from tuner.data import DataError, check, open_source, prepare
from tuner.data.labels import load_labels
from tuner.data.s3 import BucketTree

SECRET = "hush-hush-hush"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-name")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)


@pytest.fixture
def store(server: str, mvtec: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket `parts` that holds the MVTec set below `sets/one`."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    client = boto3.client("s3")
    client.create_bucket(Bucket="parts")
    for path in mvtec.rglob("*.png"):
        key = f"sets/one/{path.relative_to(mvtec).as_posix()}"
        client.put_object(Bucket="parts", Key=key, Body=path.read_bytes())
    yield client
    for found in client.list_objects_v2(Bucket="parts").get("Contents", ()):
        client.delete_object(Bucket="parts", Key=found["Key"])
    client.delete_bucket(Bucket="parts")


def refused(location: str) -> str:
    with pytest.raises(DataError) as error:
        open_source(location)
    said = str(error.value)
    assert SECRET not in said and "key-name" not in said
    return said


def test_a_bucket_is_the_same_data_as_the_folder(store: Any, mvtec: Path, tmp_path: Path) -> None:
    remote = prepare("s3://parts/sets/one/", "nut", (16, 16), tmp_path / "c")
    local = prepare(str(mvtec), "nut", (16, 16), tmp_path / "c")
    assert (remote.location, remote.layout) == ("s3://parts/sets/one", "mvtec")
    assert remote.fingerprint == local.fingerprint
    assert np.array_equal(remote.train, local.train) and np.array_equal(remote.test, local.test)
    labels = load_labels("s3://parts/sets/one", "nut", remote.size, remote.test_hashes)
    assert labels is not None and labels.anomalous.sum() == 4 and labels.missing_masks == 1
    assert check("s3://parts/sets/one").categories[0].masks == 3


def test_a_category_may_be_the_prefix_itself(store: Any) -> None:
    assert open_source("s3://parts/sets/one/nut").categories() == ["nut"]


def test_objects_are_fetched_once_and_again_when_they_change(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    original = BucketTree._fetch

    def watched(tree: BucketTree, path: str) -> bytes:
        fetched.append(path)
        return original(tree, path)

    monkeypatch.setattr(BucketTree, "_fetch", watched)
    first = prepare("s3://parts/sets/one", "nut", (16, 16), tmp_path / "c")
    assert len(fetched) == 13
    fetched.clear()
    prepare("s3://parts/sets/one", "nut", (32, 32), tmp_path / "c")
    assert not fetched
    body = store.get_object(Bucket="parts", Key="sets/one/nut/train/good/000.png")["Body"].read()
    store.put_object(Bucket="parts", Key="sets/one/nut/train/good/000.png", Body=body + b"\0")
    again = prepare("s3://parts/sets/one", "nut", (16, 16), tmp_path / "c")
    assert fetched == ["nut/train/good/000.png"]
    assert again.fingerprint != first.fingerprint


def test_an_object_that_vanishes_is_an_unreadable_image(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = open_source("s3://parts/sets/one").tree  # type: ignore[attr-defined]
    store.delete_object(Bucket="parts", Key="sets/one/nut/train/good/000.png")
    with pytest.raises(OSError, match="NoSuchKey"):
        tree.read("nut/train/good/000.png")


def test_a_bucket_or_prefix_that_does_not_exist(store: Any, server: str) -> None:
    said = refused("s3://no-such-bucket/x")
    assert f"S3 bucket no-such-bucket at {server} does not exist" in said
    assert "the bucket holds sets/: check the prefix" in refused("s3://parts/wrong")


def test_a_store_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET}@127.0.0.1:{port}")
    said = refused("s3://parts/sets")
    assert f"http://127.0.0.1:{port} does not answer" in said and "AWS_ENDPOINT_URL" in said


def test_a_store_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<Error><Code>AccessDenied</Code><Message>key-name</Message></Error>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Refusal)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    said = refused("s3://parts/sets")
    server.shutdown()
    server.server_close()
    assert "refuses access (AccessDenied); check AWS_ACCESS_KEY_ID" in said


def test_a_store_that_answers_503_and_then_well(
    store: Any, server: str, mvtec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = prepare(str(mvtec), "nut", (16, 16), tmp_path / "c")
    faltering = Faltering(int(server.rsplit(":", 1)[1]))
    threading.Thread(target=faltering.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{faltering.server_port}")
    faltering.refusals = 3
    remote = prepare("s3://parts/sets/one", "nut", (16, 16), tmp_path / "c")
    faltering.shutdown()
    faltering.server_close()
    assert faltering.refused == 3
    assert remote.fingerprint == local.fingerprint


def test_missing_credentials_and_bad_settings(
    server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not a url")
    assert "AWS_ENDPOINT_URL must be a URL" in refused("s3://parts/sets")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert "no credentials" in refused("s3://parts/sets")


@pytest.mark.parametrize("location", ["s3://", "s3:///x", f"s3://key:{SECRET}@parts/x"])
def test_what_is_no_bucket_is_refused_without_repeating_it(location: str) -> None:
    assert "not of the form s3://bucket/prefix" in refused(location)
