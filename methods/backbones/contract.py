"""The protocol of a frozen feature extractor, and how one is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class BackboneError(ValueError):
    """A backbone that cannot be had, or whose weights are not the expected ones."""


class Backbone(Protocol):
    """A frozen network in inference mode, without parameters that ask for gradients.

    `strides` and `channels` describe its feature maps, finest first. `digest` is the SHA-256 of its
    weights in hexadecimal, `origin` says in a line where they come from and under which licence.
    Gradients flow through it to its input where the input asks for them.
    """

    strides: Sequence[int]
    channels: Sequence[int]
    digest: str
    origin: str

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Features `[B, C, ceil(H / stride), ceil(W / stride)]` of images `[B, 3, H, W]` in
        [0, 1], one map a stride."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Everything that rebuilds it without the file that it came from."""
        ...


def grid_of(size: Sequence[int], stride: int, scale: float = 1.0) -> tuple[int, int]:
    """Rows and columns of the features of images of (height, width) at a stride, where the network
    sees them scaled."""
    height, width = scaled_size(size, scale)
    return -(-height // stride), -(-width // stride)


def scaled_size(size: Sequence[int], scale: float) -> tuple[int, int]:
    """Height and width of images of (height, width) as the network sees them."""
    return max(1, round(scale * int(size[0]))), max(1, round(scale * int(size[1])))
