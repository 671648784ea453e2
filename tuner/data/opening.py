"""Opening a location: the demo generator, a folder or an S3 prefix."""

from __future__ import annotations

from pathlib import Path

from tuner.data.demo.source import DemoSource
from tuner.data.source import DEMO, Source, open_tree


def open_source(location: str, cache: Path | None = None) -> Source:
    """`demo`, a folder, or `s3://bucket/prefix`; `cache` keeps what comes over the network.

    Raises DataError where the location is missing, does not answer, or has no known layout.
    """
    if location == DEMO:
        return DemoSource()
    return open_tree(location, cache)
