"""A small API server that answers as Kubernetes does where a client of RayJobs may trip.

Objects are kept in memory. It refuses unknown callers (401) and callers without rights (403),
counts quotas, ignores a status that comes with the main resource, checks a few fields of a RayJob
as strictly as the real schema would, and serves watches. Nothing operates what it keeps.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Key = tuple[str, str, str]

CORE = ("pods", "events", "resourcequotas", "serviceaccounts")
FIELDS: dict[str, type] = {
    "entrypoint": str, "submissionMode": str, "shutdownAfterJobFinishes": bool, "suspend": bool,
    "ttlSecondsAfterFinished": int, "backoffLimit": int, "activeDeadlineSeconds": int,
    "preRunningDeadlineSeconds": int, "rayClusterSpec": dict, "submitterPodTemplate": dict,
    "clusterSelector": dict, "jobId": str, "runtimeEnvYAML": str,
}  # fmt: skip
_PATH = re.compile(
    r"/(?P<group>api/v1|apis/ray\.io/v1)/namespaces/(?P<namespace>[^/]+)"
    r"(/(?P<plural>[^/]+)(/(?P<name>[^/]+)(/(?P<sub>[^/]+))?)?)?"
)


class Refused(Exception):
    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
            "reason": reason, "message": message, "details": details,
        }  # fmt: skip


class ApiServer(ThreadingHTTPServer):
    """Start by `serve_forever` in a thread. `logs` holds what pods wrote, by name."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[Key, dict[str, Any]] = {}
        self.callers = {"admin-token": "admin"}
        self.events: list[tuple[int, str, Key, dict[str, Any]]] = []
        self.logs: dict[str, list[str]] = {}
        self.oldest = 0
        self.lock = threading.RLock()
        self._versions = itertools.count(1)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def keep(self, kind: str, key: Key, content: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            version = next(self._versions)
            content["metadata"]["resourceVersion"] = str(version)
            if kind == "DELETED":
                self.objects.pop(key)
            else:
                self.objects[key] = content
            self.events.append((version, kind, key, json.loads(json.dumps(content))))
        return content

    def compact(self) -> None:
        """Forget old events, so that a watch from an old version is answered by 410."""
        self.oldest = next(self._versions)

    def found(self, key: Key) -> dict[str, Any]:
        if key not in self.objects:
            message = f'{key[0]} "{key[2]}" not found'
            raise Refused(404, "NotFound", message, kind=key[0], name=key[2])
        return self.objects[key]

    def create(self, plural: str, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        meta = body.setdefault("metadata", {})
        key = (plural, namespace, meta["name"])
        if plural != "namespaces":
            self.found(("namespaces", "", namespace))
            self._check_quota(plural, namespace)
        if key in self.objects:
            message = f'{plural} "{key[2]}" already exists'
            raise Refused(409, "AlreadyExists", message, kind=plural, name=key[2])
        body.pop("status", None)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        meta |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": stamp}
        return self.keep("ADDED", key, body)

    def _check_quota(self, plural: str, namespace: str) -> None:
        counted = f"count/{plural}.ray.io"
        used = sum(key[:2] == (plural, namespace) for key in self.objects)
        for key, quota in self.objects.items():
            limit = quota.get("spec", {}).get("hard", {}).get(counted)
            if (
                key[:2] == ("resourcequotas", namespace)
                and limit is not None
                and used >= int(limit)
            ):
                said = f"requested: {counted}=1, used: {counted}={used}, limited: {counted}={limit}"
                raise Refused(403, "Forbidden", f"exceeded quota: {key[2]}, {said}", kind=plural)


def check_schema(body: dict[str, Any], strict: bool) -> None:
    spec = body.get("spec", {})
    unknown = [name for name in spec if name not in FIELDS]
    if unknown and strict:
        said = ", ".join(f'unknown field "spec.{name}"' for name in unknown)
        raise Refused(400, "BadRequest", f"strict decoding error: {said}")
    wrong = [
        {"field": f"spec.{name}", "reason": "FieldValueTypeInvalid",
         "message": f"must be of type {FIELDS[name].__name__}"}
        for name, value in spec.items()
        if name in FIELDS and type(value) is not FIELDS[name]
    ]  # fmt: skip
    if wrong:
        raise Refused(422, "Invalid", "RayJob is invalid", kind="RayJob", causes=wrong)


def merged(old: Any, new: Any) -> Any:
    """JSON merge patch."""
    if not isinstance(new, dict):
        return new
    base = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        if value is None:
            base.pop(key, None)
        else:
            base[key] = merged(base.get(key), value)
    return base


class Handler(BaseHTTPRequestHandler):
    server: ApiServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

    def log_message(self, *_: object) -> None: ...

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        try:
            reply = self._reply(parts.path, query, body)
        except Refused as refused:
            self._send(refused.code, json.dumps(refused.status).encode(), "application/json")
            return
        if isinstance(reply, Iterator):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for line in reply:
                content = line.encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
            self.wfile.write(b"0\r\n\r\n")
        elif isinstance(reply, bytes):
            self._send(404, reply, "text/plain")
        else:
            self._send(200, json.dumps(reply).encode(), "application/json")

    def _send(self, code: int, content: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _reply(self, path: str, query: dict[str, str], body: dict[str, Any]) -> Any:
        caller = self.server.callers.get(self.headers.get("Authorization", "")[7:])
        if caller is None:
            raise Refused(401, "Unauthorized", "Unauthorized")
        if path == "/api/v1/namespaces":
            return self.server.create("namespaces", "", body)
        match = _PATH.fullmatch(path)
        plural = match["plural"] if match else None
        known = CORE if match and match["group"] == "api/v1" else ("rayjobs",)
        if match is None or (plural and plural not in known):
            return b"404 page not found\n"
        if caller != "admin":
            message = f'{plural} is forbidden: User "{caller}" cannot {self.command} {plural}'
            raise Refused(403, "Forbidden", message, kind=plural)
        if plural is None:
            return self._change(("namespaces", "", match["namespace"]), "", body)
        if match["name"] is None:
            return self._collection(plural, match["namespace"], query, body)
        return self._item((plural, match["namespace"], match["name"]), match["sub"], query, body)

    def _collection(
        self, plural: str, namespace: str, query: dict[str, str], body: dict[str, Any]
    ) -> Any:
        if self.command != "POST":
            return self._list(plural, namespace, query)
        if plural == "rayjobs":
            check_schema(body, query.get("fieldValidation") == "Strict")
        return self.server.create(plural, namespace, body)

    def _item(self, key: Key, sub: str | None, query: dict[str, str], body: dict[str, Any]) -> Any:
        if sub == "log":
            return self._log(key, query.get("follow") in ("true", "True"))
        if sub == "token":
            token = uuid.uuid4().hex
            self.server.callers[token] = f"system:serviceaccount:{key[1]}:{key[2]}"
            return {"kind": "TokenRequest", "spec": {"audiences": []}, "status": {
                "token": token, "expirationTimestamp": "2100-01-01T00:00:00Z"}}  # fmt: skip
        return self._change(key, sub or "", body)

    def _change(self, key: Key, sub: str, body: dict[str, Any]) -> Any:
        found = self.server.found(key)
        if self.command == "GET":
            return found
        if self.command == "DELETE":
            self.server.keep("DELETED", key, found)
            return {"kind": "Status", "status": "Success"}
        if key[0] == "rayjobs" and "merge-patch" not in self.headers["Content-Type"]:
            raise Refused(415, "UnsupportedMediaType", "the body is no merge patch")
        if "strategic" in self.headers["Content-Type"] and key[0] == "rayjobs":
            raise Refused(415, "UnsupportedMediaType", "no strategic merge of custom resources")
        part = {"status": body.get("status", {})} if sub == "status" else dict(body)
        if sub != "status":
            part.pop("status", None)
        return self.server.keep("MODIFIED", key, merged(found, part))

    def _list(self, plural: str, namespace: str, query: dict[str, str]) -> Any:
        if query.get("watch") in ("true", "True"):
            return self._watch(plural, namespace, query)
        with self.server.lock:
            items = [
                found
                for key, found in self.server.objects.items()
                if key[:2] == (plural, namespace) and selected(found, query)
            ]
        return {"kind": "List", "metadata": {"resourceVersion": "1"}, "items": items}

    def _watch(self, plural: str, namespace: str, query: dict[str, str]) -> Iterator[str]:
        since = int(query.get("resourceVersion") or 0)
        end = time.monotonic() + float(query.get("timeoutSeconds", 5))
        if since < self.server.oldest:
            gone = Refused(410, "Expired", f"too old resource version: {since}")
            yield json.dumps({"type": "ERROR", "object": gone.status})
            return
        while time.monotonic() < end:
            with self.server.lock:
                news = [event for event in self.server.events if event[0] > since]
            for version, kind, key, content in news:
                since = version
                if key[:2] == (plural, namespace) and selected(content, query):
                    yield json.dumps({"type": kind, "object": content})
            time.sleep(0.02)

    def _log(self, key: Key, follow: bool) -> Iterator[str]:
        self.server.found(key)
        read = 0
        while True:
            ended = self.server.objects[key].get("status", {}).get("phase") in (
                "Succeeded", "Failed",
            )  # fmt: skip
            lines = self.server.logs.get(key[2], [])
            yield from lines[read:]
            read = len(lines)
            if ended or not follow:
                return
            time.sleep(0.02)


def selected(found: dict[str, Any], query: dict[str, str]) -> bool:
    labels = found["metadata"].get("labels") or {}
    for pair in filter(None, query.get("labelSelector", "").split(",")):
        name, _, value = pair.partition("=")
        if labels.get(name) != value:
            return False
    for pair in filter(None, query.get("fieldSelector", "").split(",")):
        path, _, value = pair.partition("=")
        place: Any = found
        for part in path.split("."):
            place = place.get(part, {})
        if place != value:
            return False
    return True
