"""One JSON object on standard output and nothing else there."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def only_json(wanted: bool) -> Iterator[None]:
    """While this lasts, whatever any library prints goes to standard error."""
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def print_json(content: Any) -> None:
    from tuner.study.jsonfile import clean

    sys.stdout.write(json.dumps(clean(content), indent=2) + "\n")
    sys.stdout.flush()
