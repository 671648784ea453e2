"""Where the files of trials outlive the machine that wrote them.

A place is named as Ray names its storage: `s3://bucket/prefix` (any endpoint, by the usual AWS
variables), or a folder. Rungs lie beside each other, so that a machine that was cut off and comes
back with an older rung spoils nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ATTEMPTS = 8
"""How often one request to S3 is tried; the pauses between grow to 20 s."""


class DepotError(OSError):
    """Files cannot be written to, or read from, where they should outlive this machine."""


class Depot:
    """The kept rungs of one trial."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._files, self._root = _open(self.uri)

    def put(self, folder: Path, rung: int, names: Sequence[str]) -> None:
        """Copy files of a rung there, then drop older rungs. The last name makes it whole."""
        try:
            if not _is_s3(self.uri):
                self._files.create_dir(self._place(rung), recursive=True)
            for name in names:
                self._write(f"{self._place(rung)}/{name}", (folder / name).read_bytes())
            for older in (found for found in self._rungs() if found < rung):
                self._files.delete_dir(self._place(older))
        except OSError as error:
            raise DepotError(_text("written to", self.uri, error)) from None

    def _write(self, place: str, content: bytes) -> None:
        """A whole file or none: a bucket knows nothing else, a folder gets it by a rename."""
        aside = place if _is_s3(self.uri) else f"{place}.part"
        try:
            with self._files.open_output_stream(aside) as target:
                target.write(content)
        except OSError:
            if aside != place:
                self._files.delete_file(aside)
            raise
        if aside != place:
            self._files.move(aside, place)

    def get(self, folder: Path, names: Sequence[str]) -> int:
        """Copy the newest whole rung into a folder; 0 where there is none. Names as in `put`."""
        try:
            for rung in sorted(self._rungs(), reverse=True):
                if self._files.get_file_info(f"{self._place(rung)}/{names[-1]}").is_file:
                    self._copy(rung, folder, names)
                    return rung
        except OSError as error:
            raise DepotError(_text("read from", self.uri, error)) from None
        return 0

    def _copy(self, rung: int, folder: Path, names: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            with self._files.open_input_stream(f"{self._place(rung)}/{name}") as source:
                content = source.read()
            # The workers of a trial that stand on one machine fetch beside each other.
            part = folder / f".{os.getpid()}-{name}"
            part.write_bytes(content)
            part.replace(folder / name)

    def _rungs(self) -> list[int]:
        from pyarrow.fs import FileSelector

        found = self._files.get_file_info(FileSelector(self._root, allow_not_found=True))
        names = [info.base_name for info in found]
        return [int(name[5:]) for name in names if name.startswith("rung-") and name[5:].isdigit()]

    def _place(self, rung: int) -> str:
        return f"{self._root}/rung-{rung}"


def check_place(uri: str) -> None:
    """Raises ValueError for what is no place, or one that cannot be reached."""
    files, root = _open(uri.rstrip("/"))
    from pyarrow.fs import FileType

    try:
        info = files.get_file_info(root.split("/", maxsplit=1)[0] if _is_s3(uri) else root)
    except OSError as error:
        raise ValueError(_text("reached at", uri, error)) from None
    if _is_s3(uri) and info.type == FileType.NotFound:
        raise ValueError(f"--storage-path {uri}: the bucket does not exist; create it")


def _open(uri: str) -> tuple[Any, str]:
    from pyarrow import ArrowInvalid
    from pyarrow.fs import AwsStandardS3RetryStrategy, FileSystem, S3FileSystem

    if _is_s3(uri):
        # The library reads credentials from the usual variables, but not the endpoint.
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        files = S3FileSystem(
            endpoint_override=endpoint,
            retry_strategy=AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
            # One request for a small file, instead of three.
            allow_delayed_open=True,
            connect_timeout=5,
            request_timeout=30,
        )
        return files, uri.removeprefix("s3://")
    try:
        files, root = FileSystem.from_uri(uri)
    except ArrowInvalid:
        raise ValueError(
            f"--storage-path is {uri!r}, but must be s3://bucket/prefix, or the absolute path of a "
            "folder that every machine sees"
        ) from None
    return files, root


def _is_s3(uri: str) -> bool:
    return uri.startswith("s3://")


def _text(what: str, uri: str, error: OSError) -> str:
    lines = str(error).splitlines()
    return f"files cannot be {what} {uri} ({(lines or [''])[0][:200]})"
