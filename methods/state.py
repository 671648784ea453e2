"""What a fit keeps of itself between two sessions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def on_cpu(value: Any) -> Any:
    """A deep copy of nested mappings, lists and tuples with every tensor on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        return {key: on_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(on_cpu(item) for item in value)
    return value


def move(thing: Any, device: torch.device) -> None:
    """Move what an object is made of to a device: modules, tensors, records, and lists and mappings
    of them."""
    for name, value in vars(thing).items():
        setattr(thing, name, _moved(value, device))


def _moved(value: Any, device: torch.device) -> Any:
    if callable(getattr(value, "to", None)):
        return value.to(device)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _moved(getattr(value, f.name), device) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    if isinstance(value, list):
        return [_moved(each, device) for each in value]
    if isinstance(value, Mapping):
        return {name: _moved(each, device) for name, each in value.items()}
    if callable(getattr(value, "weights", None)):  # a detector within a detector
        move(value, device)
    return value


def under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU of a module's state, as `PREFIX.NAME` among other weights."""
    return {f"{prefix}.{name}": on_cpu(value) for name, value in state.items()}


def below(prefix: str, weights: Mapping[str, T]) -> dict[str, T]:
    """What stands under `PREFIX.NAME`, by NAME: a module's state out of weights, for one."""
    head = prefix + "."
    return {k.removeprefix(head): v for k, v in weights.items() if k.startswith(head)}
