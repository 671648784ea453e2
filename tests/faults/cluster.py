"""A Ray cluster whose nodes can be killed, or cut off and healed.

Each node has a network name space of its own, so that a cut is a real one. Where those are not
allowed, nodes share the loopback and a cut one is stopped: it is silent, and comes back.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.faults.drivers import wait_for
from tests.faults.servers import free_port

RAY = str(Path(sys.executable).parent / "ray")

# A node counts as dead after seconds, not after minutes.
QUICK = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "4",
}


def ip(*words: str) -> bool:
    """Whether the system's tool for networks is there and did as told."""
    if shutil.which("ip") is None:
        return False
    return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0


@dataclass
class Node:
    """A node of the cluster: its processes, and the wire to it (none on the loopback)."""

    process: Any
    wire: str = ""

    def processes(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        return []

    @property
    def works(self) -> bool:
        """Whether a trial's process runs on it."""
        return any("ImplicitFunc" in " ".join(_words(each)) for each in self.processes())

    @property
    def gone(self) -> bool:
        return self.process.poll() is not None

    def kill(self) -> None:
        for each in self.processes():
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self.process.wait(30)

    def cut(self) -> None:
        if self.wire:
            ip("link", "set", self.wire, "down")
        else:
            self._signal(signal.SIGSTOP)

    def heal(self) -> None:
        if self.wire:
            ip("link", "set", self.wire, "up")
        else:
            self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for each in self.processes():
            with suppress(psutil.NoSuchProcess):
                each.send_signal(number)


@dataclass
class Cluster:
    """A head that does no work itself; `add` gives it nodes of one processor."""

    folder: Path
    nodes: list[Node] = field(default_factory=list)
    head: Any = None
    port: int = 0

    def start(self) -> None:
        self._mark = f"{random.SystemRandom().randrange(1 << 20):x}"
        self._net = f"10.{os.getpid() % 200 + 30}.{random.SystemRandom().randrange(250)}"
        self.spaces = ip("link", "add", f"tb{self._mark}", "type", "bridge")
        if self.spaces:
            ip("addr", "add", f"{self._net}.1/24", "dev", f"tb{self._mark}")
            ip("link", "set", f"tb{self._mark}", "up")
        self.port = free_port()
        self.head = self._ray(
            [], "--head", f"--port={self.port}", "--num-cpus=0", f"--node-ip-address={self._at(1)}",
            "--include-dashboard=false", f"--ray-client-server-port={free_port()}",
            f"--temp-dir={self.folder}",
        )  # fmt: skip

        wait_for(self._listens)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self._at(1), self.port)) == 0

    @property
    def address(self) -> str:
        return f"{self._at(1)}:{self.port}"

    def add(self, hidden: Path | None = None) -> Node:
        """One more node. It sees an empty folder of its own where others see `hidden`, as on a
        machine that shares no files with them."""
        number = len(self.nodes) + 2
        wire, prefix = "", []
        if self.spaces:
            space, wire = f"t{self._mark}n{number}", f"t{self._mark}w{number}"
            ip("netns", "add", space)
            ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", wire, "master", f"tb{self._mark}", "up")
            prefix = ["ip", "netns", "exec", space]
            for words in (
                ("addr", "add", f"{self._at(number)}/24", "dev", "eth0"),
                ("link", "set", "eth0", "up"),
                ("link", "set", "lo", "up"),
            ):
                ip("-n", space, *words)
            if hidden is not None:
                # The space has mounts of its own, too.
                script = 'mount -t tmpfs none "$0" && exec "$@"'
                prefix = [*prefix, "sh", "-c", script, str(hidden)]
        process = self._ray(
            prefix, f"--address={self.address}", "--num-cpus=1",
            f"--node-ip-address={self._at(number)}", f"--temp-dir={self.folder}{number}",
        )  # fmt: skip
        self.nodes.append(Node(process, wire))
        return self.nodes[-1]

    def _at(self, number: int) -> str:
        return f"{self._net}.{number}" if self.spaces else "127.0.0.1"

    def _ray(self, prefix: list[str], *options: str) -> Any:
        number = len(self.nodes) if options[0] != "--head" else "head"
        with (self.folder.parent / f"ray-{number}.log").open("w") as log:
            return subprocess.Popen(
                [
                    *prefix, RAY, "start", "--block", *options, "--disable-usage-stats",
                    "--object-store-memory=80000000",
                    f"--dashboard-agent-listen-port={free_port()}",
                ],
                stdout=log, stderr=log, env={**os.environ, **QUICK}, start_new_session=True,
            )  # fmt: skip

    def stop(self) -> None:
        for node in [*self.nodes, *([Node(self.head)] if self.head else [])]:
            if not node.wire:
                node.heal()
            node.kill()
        if self.spaces:
            for number in range(2, len(self.nodes) + 2):
                ip("netns", "del", f"t{self._mark}n{number}")
            ip("link", "del", f"tb{self._mark}")


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """A cluster of a head alone, for as long as the block lasts."""
    # Paths of Ray's sockets must be short.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made = Cluster(Path(folder) / "r")
        try:
            made.start()
            yield made
        finally:
            made.stop()


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
