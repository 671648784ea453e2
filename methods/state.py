"""What a fit keeps of itself between two sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def on_cpu(value: Any) -> Any:
    """A deep copy of nested mappings, lists and tuples with every tensor on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        return {key: on_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(on_cpu(item) for item in value)
    return value
