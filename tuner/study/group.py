"""Groups of workers that train one trial together, on one machine or on several."""

from __future__ import annotations

import os
from typing import Any

import psutil
import ray
from ray._raylet import PlacementGroupID
from ray.experimental import internal_kv
from ray.train.torch import TorchConfig
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.util.placement_group import PlacementGroup, remove_placement_group

# Torch's set-up of a group is public only by way of its configuration.
_TORCH: Any = TorchConfig().backend_cls


# Where the places that groups hold are written down, by the name of the run that they belong to.
_SHELF = "tuner-groups"


class Noted(WorkerGroupCallback):
    """Writes down which processors and GPUs the workers of a run hold."""

    def __init__(self, run: str) -> None:
        self.run = run

    def after_worker_group_start(self, worker_group: Any) -> None:
        held = worker_group.get_worker_group_state().placement_group_handle.placement_group
        internal_kv._internal_kv_put(self.run, held.id.binary(), True, namespace=_SHELF)


def give_back(run: str) -> None:
    """Free what the workers of a run that is over still hold.

    Ray leaves that to a process which asks the dashboard whether the run is dead. A dashboard that
    is dead itself, or too slow on a busy machine, keeps all later trials waiting for minutes.
    """
    held = internal_kv._internal_kv_get(run, namespace=_SHELF)
    if held is not None:
        remove_placement_group(PlacementGroup(PlacementGroupID(held)))
        internal_kv._internal_kv_del(run, namespace=_SHELF)


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
