"""What runs inside Ray's processes: a trial in its own process, or in a group of workers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def as_result(record: dict[str, Any]) -> dict[str, Any]:
    """A record as Ray carries it: as text, because Ray takes nested results apart."""
    return {"rung": record["rung"], "record": json.dumps(record)}


def run_in_process(config: dict[str, Any], box: dict[str, Any]) -> None:
    """A function trainable: train in this process, report each rung to Tune."""
    import ray
    import torch
    from ray import tune

    from tuner.study.trial import Runtime, conduct

    resources = box["resources"]
    torch.set_num_threads(max(1, int(resources.cpus)))
    device = torch.device("cuda" if resources.gpus and torch.cuda.is_available() else "cpu")
    spec = box["templates"][config["method"]].become(config["own"])
    for record in conduct(spec, ray.get(box["arrays"]), Runtime(device=device)):
        tune.report(as_result(record))


def run_in_workers(config: dict[str, Any], box: dict[str, Any]) -> None:
    """A function trainable: start a worker group and pass its reports on to Tune."""
    import ray.train
    from ray import tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    from tuner.study.group import GroupConfig, Noted

    # A group has several processes to start; given up and begun again, it would be no sooner there.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "600")
    resources = box["resources"]
    per_worker = {"CPU": resources.cpus}
    if resources.gpus:
        per_worker["GPU"] = resources.gpus
    TorchTrainer(
        worker_loop,
        train_loop_config={**config, "box": box},
        torch_config=GroupConfig(backend="nccl" if resources.gpus >= 1 else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers,
            use_gpu=bool(resources.gpus),
            resources_per_worker=per_worker,
        ),
        run_config=ray.train.RunConfig(
            name=f"trial-{config['number']:04d}-{os.getpid()}",
            storage_path=str(Path(box["storage"]) / "workers"),
            callbacks=[TuneReportCallback(), Noted(tune.get_context().get_trial_id())],
            failure_config=ray.train.FailureConfig(max_failures=0),
        ),
    ).fit()


def worker_loop(config: dict[str, Any]) -> None:
    """The loop of one worker: the same generator, reporting through Ray Train."""
    import ray
    import ray.train
    import ray.train.torch
    import torch

    from tuner.study.trial import Runtime, conduct

    box = config["box"]
    torch.set_num_threads(max(1, int(box["resources"].cpus)))
    group = ray.train.get_context()
    runtime = Runtime(
        device=ray.train.torch.get_device(),
        rank=group.get_world_rank(),
        world_size=group.get_world_size(),
        all_reduce=mean_over_ranks,
    )
    spec = box["templates"][config["method"]].become(config["own"])
    for record in conduct(spec, ray.get(box["arrays"]), runtime):
        ray.train.report(as_result(record))


def mean_over_ranks(tensor: Any) -> Any:
    """The mean of a tensor over the workers of this trial."""
    import torch.distributed as dist

    if dist.get_world_size() == 1:
        return tensor
    total = tensor.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
