"""What a user of a cluster can mend."""

from __future__ import annotations


class ClusterError(ValueError):
    """A request that a cluster refuses, or cannot meet; the message says why, and the cure."""


class NoSuchJob(ClusterError):
    """No job of that name is there."""


def missing(name: str, where: str) -> NoSuchJob:
    return NoSuchJob(f"no job is named {name!r} in {where}; see: tuner jobs")
