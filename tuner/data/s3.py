"""Files under `s3://bucket/prefix`, from any store that speaks S3.

Endpoint, region and credentials come from the usual AWS variables and files. No message here
quotes what the store or the client library said, so that no credential can slip into one.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tuner.data.errors import DataError
from tuner.data.tree import visible

CONNECTIONS = 16
"""How many objects are fetched at once."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_REFUSED = {
    "403",
    "AccessDenied",
    "AllAccessDisabled",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
}


@dataclass(frozen=True)
class BucketTree:
    """Objects under a prefix; see `tuner.data.tree.Tree`.

    With `cache`, each object is kept there under a name made from its ETag, and fetched once.
    """

    location: str
    name: str
    files: tuple[str, ...] = field(repr=False)
    folders: frozenset[str] = field(repr=False)
    bucket: str = field(repr=False)
    prefix: str = field(repr=False)
    tags: dict[str, str] = field(repr=False)
    client: Any = field(repr=False)
    cache: Path | None = field(repr=False)
    closed: tuple[str, ...] = ()

    def read(self, path: str) -> bytes:
        kept = self._kept(path)
        if kept is not None and kept.exists():
            return kept.read_bytes()
        content = self._fetch(path)
        if kept is not None:
            _keep(kept, content)
        return content

    def _kept(self, path: str) -> Path | None:
        if self.cache is None:
            return None
        identity = "\0".join((_endpoint(), self.bucket, self.prefix, path, self.tags[path]))
        return self.cache / "s3" / hashlib.blake2b(identity.encode(), digest_size=20).hexdigest()

    def _fetch(self, path: str) -> bytes:
        from botocore.exceptions import ClientError

        try:
            with _translated(self.bucket):
                reply = self.client.get_object(Bucket=self.bucket, Key=self.prefix + path)
                return bytes(reply["Body"].read())
        except ClientError as error:
            # One object that is gone or broken is an unreadable image, not the end of the study.
            raise OSError(f"object cannot be read ({_code(error)})") from None


def open_bucket(location: str, cache: Path | None = None) -> BucketTree:
    """List what lies under an S3 URL.

    Raises DataError where the URL is not one, the store does not answer, refuses, does not know
    the bucket, or has nothing under the prefix.
    """
    from botocore.exceptions import ClientError

    bucket, prefix = parse(location)
    client = _client()
    tags: dict[str, str] = {}
    folders: set[str] = set()
    try:
        with _translated(bucket):
            for key, tag in _keys(client, bucket, prefix):
                parts = key.split("/")
                if not all(visible(part) for part in parts):
                    continue
                folders.update("/".join(parts[:n]) for n in range(1, len(parts)))
                if parts[-1]:
                    tags[key] = tag
            if not tags:
                raise DataError(_nothing(client, bucket, prefix))
    except ClientError as error:
        raise DataError(
            f"S3 bucket {bucket} at {_endpoint()} answered with an error ({_code(error)}); "
            "check the store's own log"
        ) from None
    name = prefix.rstrip("/").split("/")[-1] or bucket
    clean = f"s3://{bucket}/{prefix}".rstrip("/")
    files = tuple(sorted(tags))
    return BucketTree(
        clean, name, files, frozenset(folders - {""}), bucket, prefix, tags, client, cache
    )


def parse(location: str) -> tuple[str, str]:
    """Bucket and prefix (empty, or ending in `/`) of an S3 URL."""
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise DataError(
            "the S3 location is not of the form s3://bucket/prefix; give only a bucket name (3 to "
            "63 letters, digits, dots, dashes) and a prefix, and credentials by AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY"
        )
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


def _client() -> Any:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(
        connect_timeout=5,
        read_timeout=30,
        retries={"total_max_attempts": 4, "mode": "standard"},
        max_pool_connections=CONNECTIONS,
    )
    try:
        return boto3.session.Session().client("s3", config=config)
    except (BotoCoreError, ValueError):
        raise DataError(
            f"the S3 settings are not valid (endpoint {_endpoint()}); AWS_ENDPOINT_URL must be a "
            "URL such as http://127.0.0.1:9000, and AWS_PROFILE must name a profile that exists"
        ) from None


def _keys(client: Any, bucket: str, prefix: str) -> Iterator[tuple[str, str]]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for found in page.get("Contents", ()):
            yield found["Key"][len(prefix) :], f"{found.get('ETag', '')}{found.get('Size', '')}"


def _nothing(client: Any, bucket: str, prefix: str) -> str:
    page = client.list_objects_v2(Bucket=bucket, Delimiter="/", MaxKeys=20)
    held = [found["Prefix"] for found in page.get("CommonPrefixes", ())]
    there = f"the bucket holds {', '.join(held)}" if held else "the bucket holds no folder"
    return f"nothing lies under s3://{bucket}/{prefix}; {there}: check the prefix"


@contextmanager
def _translated(bucket: str) -> Iterator[None]:
    """Turn what concerns the whole bucket into DataErrors; other client errors pass."""
    from botocore import exceptions as boto

    where = f"S3 bucket {bucket} at {_endpoint()}"
    try:
        yield
    except boto.ClientError as error:
        code = _code(error)
        if code in ("NoSuchBucket", "404"):
            raise DataError(f"{where} does not exist; create it or check its name") from None
        if code in _REFUSED:
            raise DataError(
                f"{where} refuses access ({code}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY "
                "and AWS_SESSION_TOKEN, and that they may list and read this bucket"
            ) from None
        raise
    except (boto.NoCredentialsError, boto.PartialCredentialsError):
        raise DataError(
            f"no credentials for {where}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE"
        ) from None
    except boto.BotoCoreError as error:
        raise DataError(
            f"{where} does not answer ({type(error).__name__}); check AWS_ENDPOINT_URL and the "
            "network, and that the store is running"
        ) from None


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _endpoint() -> str:
    """The endpoint without user, password or query, for messages."""
    given = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not given:
        return "AWS"
    try:
        parts = urlsplit(given)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an endpoint that is not a URL"
    if not parts.hostname:
        return "an endpoint that is not a URL"
    return f"{parts.scheme}://{parts.hostname}{port}"


def _keep(target: Path, content: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(part, target)
    except OSError:
        Path(part).unlink(missing_ok=True)
        raise
