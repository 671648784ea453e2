"""Stores by address, without the credentials in it; paths as URLs and back, texts as file names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

# Where the ledger and the tracking store are, if not in the configuration: they may hold passwords,
# and a configuration is written down.
STORAGE_VARIABLE = "TUNER_STORAGE"
TRACKING_VARIABLE = "TUNER_TRACKING_URI"

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>\S+)")
_PORT = re.compile(r"\d*([/?#,;:)'\"\]].*)?", re.DOTALL)
_SECRET = re.compile(r"user|passw|pwd|secret|token|credential|api_?key|access_?key|sign", re.I)
_LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def without_credentials(text: str) -> str:
    """A URL, or a text with URLs in it, without their users, passwords, tokens and keys."""
    return _URL.sub(lambda found: found["scheme"] + _bare(found["rest"]), text)


def same_place(one: str, other: str) -> bool:
    """Whether two URLs differ in their credentials at most."""
    return without_credentials(one) == without_credentials(other)


def with_login(kept: str | None, given: str | None) -> str | None:
    """The address that was kept, with the credentials of the one that the environment gives, where
    both are the same place; the given one where none was kept."""
    if kept and given and same_place(kept, given):
        return given
    return kept or given


def with_driver(url: str) -> str:
    """A database's URL with the PostgreSQL driver that is installed beside tuner: SQLAlchemy's own
    choice is another one."""
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg2://", url)


def signed_in(uri: str) -> str:
    """The address of an MLflow server without credentials; those in it go where MLflow looks for
    them, so that no message of its own repeats them. Other addresses come back as they are."""
    scheme, _, rest = uri.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    login, found, _ = authority.rpartition("@")
    if scheme not in ("http", "https") or not found:
        return uri
    user, _, password = login.partition(":")
    os.environ.update(zip(_LOGIN, (unquote(user), unquote(password)), strict=True))
    return without_credentials(uri)


def spare_loopback() -> None:
    """Let no proxy of the environment be asked for what is on this machine."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return
    both = f"{os.environ.get('no_proxy', '')},{os.environ.get('NO_PROXY', '')}".split(",")
    spared = list(dict.fromkeys(part.strip() for part in (*both, *_LOOPBACK) if part.strip()))
    # Some libraries read the one, some the other.
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "*" if "*" in spared else ",".join(spared)


def _bare(rest: str) -> str:
    """What follows `scheme://`, without credentials."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        rest = rest[authority.rindex("@") + 1 :]
    elif "@" in rest and ":" in authority and not _PORT.fullmatch(rest.partition(":")[2]):
        # A password with a slash in it that nobody has quoted.
        rest = rest[rest.rindex("@") + 1 :]
    place, mark, query = rest.partition("?")
    kept = [pair for pair in query.split("&") if not _SECRET.search(pair.partition("=")[0])]
    return place + (mark + "&".join(kept) if kept and query else "")


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
