"""Groups of workers that train one trial together, on one machine or on several."""

from __future__ import annotations

import os
from typing import Any

import psutil
import ray
from ray.train.torch import TorchConfig

# Torch's set-up of a group is public only by way of its configuration.
_TORCH: Any = TorchConfig().backend_cls


def speak_where_ray_does() -> None:
    """Let gloo take the network interface of Ray's own address, unless told otherwise.

    It asks the machine's name for an address by itself, and many machines answer with the loopback,
    where no other machine can be reached.
    """
    address = ray.util.get_node_ip_address()
    for interface, found in psutil.net_if_addrs().items():
        if any(each.address.partition("%")[0] == address for each in found):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)


class GroupBackend(_TORCH):
    """Torch's process group, over the network that Ray uses."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(speak_where_ray_does)
        super().on_start(worker_group, backend_config)


class GroupConfig(TorchConfig):
    """How the workers of a trial find each other."""

    @property
    def backend_cls(self) -> type[GroupBackend]:
        return GroupBackend
