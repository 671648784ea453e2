"""An S3 store that answers 503 now and then."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from moto.server import ThreadedMotoServer


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


@contextlib.contextmanager
def faltering_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faltering]:
    """A store with the bucket `runs`; the usual variables point at it."""
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
