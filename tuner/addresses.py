"""Paths of this machine as URLs, URLs as paths, and texts as names of files."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

LONGEST_NAME = 120
"""Bytes of a name that is made of a text: file systems take 255, and callers add to it."""


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite database, whatever characters its path holds."""
    if not re.search("[%?{}]", str(path)):
        return f"sqlite:///{path}"
    from sqlalchemy import URL

    # With the driver named: MLflow makes a folder of the path in a plain sqlite:/// URL as it is.
    url = URL.create("sqlite+pysqlite", database=str(path))
    return url.render_as_string(hide_password=False)


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite database's URL; None for other URLs and for databases in memory."""
    if not url.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        database = make_url(url).database
    except ArgumentError:
        return None
    return Path(database) if database and not database.startswith((":", "file:")) else None


def local_path(url: str) -> Path | None:
    """The path that a file URL or a plain path means; None where it lies on another machine."""
    if "://" in url and not url.startswith("file:"):
        return None
    return Path(url2pathname(urlsplit(url).path) if url.startswith("file:") else url)


def file_name(text: str) -> str:
    """A text as a part of a file's name: without separators or control characters, not too long."""
    plain = re.sub(r"[\x00-\x1f\x7f/\\\ud800-\udfff]", "_", text)
    return plain.encode()[:LONGEST_NAME].decode(errors="ignore")


def printable(text: str) -> str:
    """A text that any UTF-8 stream takes: bytes of a name that are not UTF-8 are escaped."""
    return text.encode(errors="backslashreplace").decode()


def demand_utf8(what: str, text: str) -> None:
    """Raise ValueError for a path or name with bytes that are not UTF-8: no store would take it."""
    if printable(text) != text:
        raise ValueError(
            f"{what} {printable(text)} has bytes that are not UTF-8; rename it, or give it another "
            "name by a link"
        )
