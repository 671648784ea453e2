"""A convolution that leaves out second derivatives which a hypergradient does not use."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

_state = threading.local()


@contextlib.contextmanager
def differentiated_in_images() -> Iterator[None]:
    """Within it, convolutions of this module record a pass that is differentiated in two steps
    only: first in the weights, keeping the graph, and then what came out in the images.

    What PyTorch's own convolution computes beyond that, the second derivatives in the weights, is a
    sixth of a plain training step. Any other derivative of the recorded pass in the weights is
    missing: autograd calls them unused.
    """
    before = getattr(_state, "active", False)
    _state.active = True
    try:
        yield
    finally:
        _state.active = before


class _Gradients(torch.autograd.Function):
    """The gradients of a convolution in its images and weight, differentiable in the images."""

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, images: Tensor, weight: Tensor, steps: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(gradient, images, weight)
        ctx.steps = steps
        return _backward(gradient, images, weight, steps, (True, True))

    @staticmethod
    def backward(
        ctx: Any, outer_images: Tensor | None, outer_weight: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        gradient, images, weight = ctx.saved_tensors
        in_gradient = in_images = None
        if outer_weight is not None:
            in_gradient = functional.conv2d(images, outer_weight, **ctx.steps)
            in_images = _backward(gradient, images, outer_weight, ctx.steps, (True, False))[0]
        if outer_images is not None:
            through = functional.conv2d(outer_images, weight, **ctx.steps)
            in_gradient = through if in_gradient is None else in_gradient.add_(through)
        return in_gradient, in_images, None, None


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, steps: dict[str, Any]) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.steps = steps
        return functional.conv2d(images, weight, **steps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            # The second derivative is taken at constant weights.
            return *_Gradients.apply(gradient, images, weight.detach(), ctx.steps), None
        return _backward(gradient, images, weight, ctx.steps, (True, False))[0], None, None


def _backward(
    gradient: Tensor,
    images: Tensor,
    weight: Tensor,
    steps: dict[str, Any],
    wanted: tuple[bool, bool],
) -> tuple[Tensor, Tensor]:
    both = torch.ops.aten.convolution_backward(
        gradient,
        images,
        weight,
        None,
        steps["stride"],
        steps["padding"],
        steps["dilation"],
        False,
        (0, 0),
        steps["groups"],
        (*wanted, False),
    )
    return cast(tuple[Tensor, Tensor], tuple(both[:2]))


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d` without bias, and exactly that outside `differentiated_in_images`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        weight: Tensor = self.weight
        both = images.requires_grad and weight.requires_grad
        if not (both and torch.is_grad_enabled() and getattr(_state, "active", False)):
            return super().forward(images)
        device = images.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            images, weight = images.to(dtype), weight.to(dtype)
        steps = {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }
        return cast(Tensor, _Convolution.apply(images, weight, steps))
