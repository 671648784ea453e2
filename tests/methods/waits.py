"""Counts what would make a processor wait for a device, were the tensors on one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# Numbers that Python wants, and results whose size depends on values.
_FETCHING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique", "bincount")
_MASKS = (torch.bool, torch.uint8)


class Waits(TorchDispatchMode):
    """Within it, `found` counts waits by the operator; `total` is their sum.

    A list of a tensor's numbers is no operator of a tensor on the CPU, and is counted apart. What
    PyTorch's optimisers look at, their number of steps, is on the CPU anyway.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self._lists = _Lists(self.found)
        self._paused = False

    def _pause(self, paused: bool) -> None:
        self._paused = paused

    @property
    def total(self) -> int:
        return self.found.total()

    def __enter__(self) -> Waits:
        self._hooks = [
            register_optimizer_step_pre_hook(lambda *_: self._pause(True)),
            register_optimizer_step_post_hook(lambda *_: self._pause(False)),
        ]
        self._lists.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._lists.__exit__(*error)
        for hook in self._hooks:
            hook.remove()

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        name = "" if self._paused else function.overloadpacket.__name__
        if name.startswith(_FETCHING):
            self.found[name] += 1
        elif name.startswith(("index", "_index")) and len(arguments) > 1:
            indices = arguments[1] if isinstance(arguments[1], list | tuple) else ()
            masked = any(isinstance(i, Tensor) and i.dtype in _MASKS for i in indices)
            self.found["masked " + name] += masked
        return function(*arguments, **(options or {}))


class _Lists(TorchFunctionMode):
    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        if function is Tensor.tolist:
            self.found["tolist"] += 1
        return function(*arguments, **(options or {}))
