"""EfficientNet-Lite as a frozen feature extractor.

M. Tan, Q. V. Le, "EfficientNet" (2019), in the Lite form that Google published in 2020: inverted
residuals with ReLU6, without squeeze-and-excitation, stem and outer stages not scaled. Batch
normalisation is folded into the convolutions, so a network consists of convolutions alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Repeats, kernel, stride, expansion, channels of each stage before scaling.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# The last stage at each stride: its output is the deepest feature of that resolution.
_LAST_STAGE = {2: 0, 4: 1, 8: 2, 16: 4, 32: 6}
_STEM = 32
_BATCH_NORM_EPS = 1e-3

# Width and depth multipliers.
SCALES: Mapping[str, tuple[float, float]] = {
    "efficientnet-lite0": (1.0, 1.0),
    "efficientnet-lite1": (1.0, 1.1),
    "efficientnet-lite2": (1.1, 1.2),
}


@dataclass(frozen=True)
class _Block:
    """Shape of one inverted residual; `tap` is the stride whose feature it completes, or 0."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    expansion: int
    tap: int = 0


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, which depends on the size of its input: an
    uneven total has its larger half right and below."""

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = _same(x.shape[-2], self.kernel_size[0], self.stride[0])
        left, right = _same(x.shape[-1], self.kernel_size[1], self.stride[1])
        if (top, left) == (bottom, right):
            return F.conv2d(
                x, self.weight, self.bias, self.stride, (top, left), self.dilation, self.groups
            )
        x = F.pad(x, (left, right, top, bottom))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, linear projection; a shortcut where shapes allow."""

    def __init__(self, shape: _Block) -> None:
        super().__init__()
        inner = shape.inputs * shape.expansion
        self.expand = SameConv(shape.inputs, inner, 1) if shape.expansion > 1 else None
        self.depthwise = SameConv(inner, inner, shape.kernel, shape.stride, groups=inner)
        self.project = SameConv(inner, shape.outputs, 1)
        self.shortcut = shape.stride == 1 and shape.inputs == shape.outputs

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.expand is None else F.relu6(self.expand(x))
        out = self.project(F.relu6(self.depthwise(inner)))
        return out + x if self.shortcut else out


class EfficientNetLite(nn.Module):
    """The stages of an EfficientNet-Lite up to the coarsest stride that is asked for.

    `forward` takes images `[B, 3, H, W]` in [0, 1] and returns the features at each of `strides`,
    `[B, C, ceil(H / stride), ceil(W / stride)]`, finest first. Raises ValueError for an unknown
    variant or stride.
    """

    def __init__(self, variant: str, strides: Sequence[int]) -> None:
        super().__init__()
        if variant not in SCALES:
            raise ValueError(f"variant is {variant!r}, but must be one of: {', '.join(SCALES)}")
        unknown = sorted(set(strides) - set(_LAST_STAGE))
        if unknown or not strides:
            raise ValueError(
                f"strides are {list(strides)}, but must be some of {list(_LAST_STAGE)}"
            )
        self.strides = tuple(sorted(set(strides)))
        shapes = list(_blocks(*SCALES[variant]))
        last = max(i for i, shape in enumerate(shapes) if shape.tap == self.strides[-1])
        self.stem = SameConv(3, _STEM, 3, 2)
        self.blocks = nn.ModuleList(InvertedResidual(shape) for shape in shapes[: last + 1])
        self.taps = {i: s.tap for i, s in enumerate(shapes[: last + 1]) if s.tap in self.strides}
        self.channels = tuple(shapes[i].outputs for i in self.taps)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem(2 * images - 1))
        features = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.taps:
                features.append(x)
        return features

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of a published state dict, batch normalisation folded in.

        Raises ValueError where a tensor that this network needs is missing or has another shape.
        """
        for own, theirs, norm in self._correspondence():
            scale, shift = _folded(state, norm)
            weight = _tensor(state, f"{theirs}.weight")
            if weight.shape != own.weight.shape:
                raise ValueError(
                    f"{theirs}.weight is {list(weight.shape)}, but this architecture needs "
                    f"{list(own.weight.shape)}; the weights belong to another network"
                )
            assert own.bias is not None
            with torch.no_grad():
                own.weight.copy_(weight * scale[:, None, None, None])
                own.bias.copy_(shift)

    def initialise(self, generator: torch.Generator) -> None:
        """Random weights, scaled so that the size of activations is kept from layer to layer."""
        for own, _, _ in self._correspondence():
            fan_in = own.weight[0].numel()
            with torch.no_grad():
                own.weight.normal_(0, math.sqrt(2 / fan_in), generator=generator)
                assert own.bias is not None
                own.bias.zero_()

    def _correspondence(self) -> Iterator[tuple[SameConv, str, str]]:
        """Own convolutions with the published names of their weights and their batch norm."""
        yield self.stem, "_conv_stem", "_bn0"
        for index, block in enumerate(self.blocks):
            assert isinstance(block, InvertedResidual)
            prefix = f"_blocks.{index}"
            if block.expand is not None:
                yield block.expand, f"{prefix}._expand_conv", f"{prefix}._bn0"
            yield block.depthwise, f"{prefix}._depthwise_conv", f"{prefix}._bn1"
            yield block.project, f"{prefix}._project_conv", f"{prefix}._bn2"


def _blocks(width: float, depth: float) -> Iterator[_Block]:
    inputs = _STEM
    taps = {stage: stride for stride, stage in _LAST_STAGE.items()}
    for stage, (repeats, kernel, stride, expansion, channels) in enumerate(_STAGES):
        outer = stage in (0, len(_STAGES) - 1)
        count = repeats if outer else math.ceil(depth * repeats)
        outputs = _rounded(width * channels)
        for repeat in range(count):
            tap = taps.get(stage, 0) if repeat == count - 1 else 0
            step = stride if repeat == 0 else 1
            yield _Block(inputs, outputs, kernel, step, expansion, tap)
            inputs = outputs


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, not below nine tenths of `channels`."""
    found = max(8, int(channels + 4) // 8 * 8)
    return found + 8 if found < 0.9 * channels else found


def _same(length: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((math.ceil(length / stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def _folded(state: Mapping[str, Tensor], norm: str) -> tuple[Tensor, Tensor]:
    """Scale and shift `[C]` of a batch normalisation at inference."""
    weight, bias, mean, variance = (
        _tensor(state, f"{norm}.{part}")
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / (variance + _BATCH_NORM_EPS).sqrt()
    return scale, bias - mean * scale


def _tensor(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise ValueError(f"the weights have no {name}; they belong to another architecture")
    return state[name]
