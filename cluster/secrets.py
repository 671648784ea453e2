"""Secrets travel by reference; a value that looks like one is refused before it is written down."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from cluster.errors import ClusterError

_NAME = re.compile(
    r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|PRIVATE|ACCESS_KEY|API_?KEY|(^|_)AUTH($|_)", re.I
)
_CURE = "put it into a Secret of the cluster (cluster/manifests/secrets) and name that by --secret"


def check_secrets(entrypoint: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raises ClusterError, without repeating the value, for anything that gives a secret away."""
    for name, value in environment.items():
        if _NAME.search(name):
            raise ClusterError(f"the variable {name} seems to hold a secret; {_CURE}")
        if has_password(value):
            raise ClusterError(f"the variable {name} holds a password; {_CURE}")
    before = ""
    for argument in entrypoint:
        option, _, value = argument.partition("=") if argument.startswith("--") else ("", "", "")
        if has_password(value or argument):
            raise ClusterError(f"{option or before or 'the command'} holds a password; {_CURE}")
        before = argument


def has_password(text: str) -> bool:
    """True for a URL with a password in it, or with a token or key among its parameters."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    if not parts.scheme or not parts.netloc:
        return False
    login, found, _ = parts.netloc.rpartition("@")
    names = (pair.partition("=")[0] for pair in parts.query.split("&"))
    return (bool(found) and ":" in login) or any(_NAME.search(name) for name in names)
