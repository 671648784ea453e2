"""Processors and memory as control groups limit them."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from tuner import limits
from tuner.limits import memory, processors
from tuner.study.config import StudyConfig
from tuner.study.plan import Machine, lay_out

TWO, ONE_CPU, ONE_MEMORY = "cgroup2 cgroup2 rw", "cgroup cgroup rw,cpu", "cgroup cgroup rw,memory"


def machine(root: Path, groups: str, mounts: list[tuple[str, str, str]], **files: str) -> Path:
    """A root with the files that the kernel shows; `mounts` are (root, place, kind and options),
    `files` their contents by name with `__` for a slash."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    lines = [
        f"{30 + i} 23 0:2{i} {inside} {place} rw,relatime - {kind}\n"
        for i, (inside, place, kind) in enumerate(mounts)
    ]
    (root / "proc/self/mountinfo").write_text("".join(lines))
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_version_2_in_a_container(tmp_path: Path) -> None:
    root = machine(
        tmp_path, "0::/\n", [("/", "/sys/fs/cgroup", TWO)],
        cpu_DOT_max="50000 100000\n", memory_DOT_max="1048576\n",
    )  # fmt: skip
    assert processors(root) == 1 and memory(root) == 1 << 20


def test_version_2_takes_the_lowest_limit_on_the_way_to_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    root = machine(
        tmp_path, "0::/kube/pod/box\n", [("/", "/sys/fs/cgroup", TWO)],
        kube__cpu_DOT_max="max 100000\n",
        kube__pod__cpu_DOT_max="250000 100000\n",
        kube__pod__box__cpu_DOT_max="800000 100000\n",
        kube__pod__memory_DOT_max="max\n",
        kube__pod__box__memory_DOT_high="2097152\n",
    )  # fmt: skip
    # Two and a half processors keep three processes busy.
    assert processors(root) == 3 and memory(root) == 2 << 20


def test_version_1_whose_mount_begins_at_the_containers_own_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    root = machine(
        tmp_path, "4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n",
        [("/docker/ab", "/sys/fs/cgroup/cpu,cpuacct", ONE_CPU),
         ("/docker/ab", "/sys/fs/cgroup/memory", ONE_MEMORY)],
        **{"cpu,cpuacct__cpu_DOT_cfs_quota_us": "200000\n",
           "cpu,cpuacct__cpu_DOT_cfs_period_us": "100000\n",
           "memory__memory_DOT_limit_in_bytes": "3145728\n"},
    )  # fmt: skip
    assert processors(root) == 2 and memory(root) == 3 << 20


def test_no_limit_is_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)), raising=False)
    unlimited = machine(
        tmp_path / "one", "4:memory:/\n3:cpu:/\n",
        [("/", "/sys/fs/cgroup/cpu", ONE_CPU), ("/", "/sys/fs/cgroup/memory", ONE_MEMORY)],
        cpu__cpu_DOT_cfs_quota_us="-1\n", cpu__cpu_DOT_cfs_period_us="100000\n",
        memory__memory_DOT_limit_in_bytes="9223372036854771712\n",
    )  # fmt: skip
    for root in (unlimited, tmp_path / "nothing"):
        assert processors(root) == 5 and memory(root) == psutil.virtual_memory().total


def test_libraries_start_no_more_threads_than_a_quota_bears(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(limits, "processors", lambda: 64)
    limits.hold_threads()
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setattr(limits, "processors", lambda: 2)
    limits.hold_threads()
    assert os.environ["OMP_NUM_THREADS"] == "2"


def test_as_many_trials_at_once_as_memory_bears() -> None:
    config = StudyConfig(name="s", category="c")
    assert lay_out(config, Machine(64, 0, "CPU")).parallel == 64
    assert lay_out(config, Machine(64, 0, "CPU", memory=5 * 2**30)).parallel == 5
    assert lay_out(config, Machine(64, 0, "CPU", memory=2**30)).parallel == 1
    asked = config.changed(parallel=7)
    assert lay_out(asked, Machine(64, 0, "CPU", memory=2**30)).parallel == 7
