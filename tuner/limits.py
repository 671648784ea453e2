"""What this process may use of its machine: processors and memory, as affinity and control groups
(containers, Kubernetes, batch systems) limit them.

A limit may stand at any level between the process's own group and the root that it sees, so all of
them are asked, in version 2 as in version 1 of control groups.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")


def processors(root: Path = _ROOT) -> int:
    """How many processors this process may keep busy, at least 1; part of one counts as one."""
    quotas = [_quota(folder) for folder in _groups("cpu", root)]
    return max(1, math.ceil(min([_bound_to(), *quotas])))


def hold_threads() -> None:
    """Keep libraries from starting a thread for each processor of the machine where a quota leaves
    fewer of them: the quota is then spent on waiting for each other."""
    if (count := processors()) < _bound_to():
        os.environ.setdefault("OMP_NUM_THREADS", str(count))


def _bound_to() -> int:
    """The processors that this process may run on, whatever share of them it gets."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return count or 1


def memory(root: Path = _ROOT) -> int:
    """How many bytes of memory this process and those beside it in its group may take."""
    import psutil

    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    limits = [_number(group / name) for group in _groups("memory", root) for name in names]
    return int(min([psutil.virtual_memory().total, *limits]))


def _quota(group: Path) -> float:
    """Processors that a group may use at once, infinite where it has no quota."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        limit = _number(group / "cpu.cfs_quota_us")
        return limit / _number(group / "cpu.cfs_period_us") if limit < math.inf else math.inf
    return math.inf if quota == "max" else int(quota) / int(period)


def _number(file: Path) -> float:
    """A positive number in a file; infinite for `max`, -1, and where there is none."""
    try:
        value = int(file.read_text())
    except (OSError, ValueError):
        return math.inf
    return value if value > 0 else math.inf


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of this process's group and of those above it, for version 2 and version 1."""
    try:
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
        own = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    paths: dict[str, str] = {}
    for line in own:
        _, controllers, path = line.split(":", maxsplit=2)
        paths |= dict.fromkeys(controllers.split(","), path)
    for line in mounts:
        before, _, after = line.partition(" - ")
        inside, mount = before.split()[3:5]
        kind, *_, options = after.split()
        if kind == "cgroup" and controller in options.split(","):
            path = paths.get(controller, "/")
        elif kind == "cgroup2":
            path = paths.get("", "/")
        else:
            continue
        # In a container the mount may begin at the container's own group, or hide it altogether.
        below = path.removeprefix(inside.rstrip("/")) if path.startswith(inside) else "/"
        top = root / mount.lstrip("/")
        group = top / below.strip("/")
        yield from (g for g in (group, *group.parents) if g == top or top in g.parents)
