"""ResNet-18 with a projection head, scalable down to what two cores can train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.networks.convolution import Conv2d

Stem = Literal["large", "small"]
Norm = Literal["batch", "group"]
Activation = Literal["relu", "gelu"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}
_CHANNELS_PER_GROUP = 8
_SMALL_IMAGE = 64
# Channel statistics of ImageNet, which the published recipe standardises with.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


class Projected(NamedTuple):
    """`embedding` `[B, D]` (of unit length where so asked) and `logits` `[B, classes]`."""

    embedding: Tensor
    logits: Tensor


def stem_for(size: tuple[int, int]) -> Stem:
    """The stem that leaves a useful map: "small" where the shorter side is at most 64 pixels.

    The 7 x 7 stem with pooling shrinks by 32 in all, which leaves one pixel of a 32 x 32 image.
    """
    return "small" if min(size) <= _SMALL_IMAGE else "large"


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, but must be one of: {', '.join(allowed)}")


def _normalisation(norm: Norm, channels: int, spatial: bool) -> nn.Module:
    """Batch or group normalisation of `[B, C, H, W]`, or of `[B, C]` where not `spatial`."""
    if norm == "batch":
        return nn.BatchNorm2d(channels) if spatial else nn.BatchNorm1d(channels)
    # Groups of about eight channels: with one channel a group, a 1 x 1 map would become zero.
    groups = max(1, channels // _CHANNELS_PER_GROUP)
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels)


class _Block(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, stride: int, norm: Norm, activation: Activation
    ) -> None:
        super().__init__()
        self.first = Conv2d(inputs, outputs, 3, stride, 1)
        self.first_norm = _normalisation(norm, outputs, True)
        self.second = Conv2d(outputs, outputs, 3, 1, 1)
        self.second_norm = _normalisation(norm, outputs, True)
        self.activation = _ACTIVATIONS[activation]()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                Conv2d(inputs, outputs, 1, stride),
                _normalisation(norm, outputs, True),
            )

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.activation(self.first_norm(self.first(features)))
        hidden = self.second_norm(self.second(hidden))
        return cast(Tensor, self.activation(hidden + self.shortcut(features)))


class ResNet18(nn.Module):
    """The trunk: images `[B, 3, H, W]` in [0, 1] to features `[B, 8 * width]`.

    Four stages of two blocks with `width`, 2, 4 and 8 times `width` channels (He et al., 2016;
    `width=64` is the original). `stem="small"` is a 3 x 3 convolution of stride 1 and no pooling,
    as for CIFAR; `stem_for` chooses. `norm="group"` has no batch statistics, which makes the result
    independent of how a batch is split over workers. `activation="gelu"` is twice differentiable,
    for gradient checks. Images are standardised inside, with ImageNet's statistics, so that
    whatever augments them sees [0, 1]. Raises ValueError for a value out of its range.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        width: int = 64,
        stem: Stem = "large",
        norm: Norm = "batch",
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width is {width}, but must be at least 1 (64 is the original)")
        _one_of("stem", stem, ("large", "small"))
        _one_of("norm", norm, ("batch", "group"))
        _one_of("activation", activation, tuple(_ACTIVATIONS))
        self.features = 8 * width
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1), persistent=False
        )
        kernel, stride = (7, 2) if stem == "large" else (3, 1)
        layers: list[nn.Module] = [
            Conv2d(3, width, kernel, stride, kernel // 2),
            _normalisation(norm, width, True),
            _ACTIVATIONS[activation](),
        ]
        if stem == "large":
            layers.append(nn.MaxPool2d(3, 2, 1))
        self.stem = nn.Sequential(*layers)
        blocks: list[nn.Module] = []
        channels = width
        for stage in range(4):
            outputs = width * 2**stage
            blocks.append(_Block(channels, outputs, 1 if stage == 0 else 2, norm, activation))
            blocks.append(_Block(outputs, outputs, 1, norm, activation))
            channels = outputs
        self.blocks = nn.Sequential(*blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        maps = self.blocks(self.stem((images - self.mean) / self.deviation))
        return cast(Tensor, maps.mean(dim=(2, 3)))


class ProjectionNetwork(nn.Module):
    """A trunk and the head that training needs: images `[B, 3, H, W]` to `Projected`.

    The embedding is the trunk's feature, divided by its length where `unit_embedding` (the tuned
    detector of ST-SSAD scores such unit vectors); the head Linear-norm-activation for each of
    `head_widths` and Linear to `classes` sees the undivided feature, as in CutPaste (Li et al.,
    2021). Raises ValueError for widths or classes below 1.
    """

    def __init__(
        self,
        trunk: ResNet18,
        *,
        head_widths: Sequence[int] = (512, 128),
        classes: int = 2,
        unit_embedding: bool = True,
        norm: Norm = "batch",
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        for name, value in (("classes", classes), *(("head width", w) for w in head_widths)):
            if value < 1:
                raise ValueError(f"{name} is {value}, but must be at least 1")
        _one_of("norm", norm, ("batch", "group"))
        _one_of("activation", activation, tuple(_ACTIVATIONS))
        self.trunk = trunk
        self.unit_embedding = unit_embedding
        layers: list[nn.Module] = []
        inputs = trunk.features
        for outputs in head_widths:
            layers += [
                nn.Linear(inputs, outputs),
                _normalisation(norm, outputs, False),
                _ACTIVATIONS[activation](),
            ]
            inputs = outputs
        self.head = nn.Sequential(*layers, nn.Linear(inputs, classes))

    def forward(self, images: Tensor) -> Projected:
        features = self.trunk(images)
        embedding = functional.normalize(features, dim=1) if self.unit_embedding else features
        return Projected(embedding, self.head(features))


def projection_resnet18(
    size: tuple[int, int],
    *,
    width: int = 64,
    norm: Norm = "batch",
    activation: Activation = "relu",
    unit_embedding: bool = True,
    head_widths: Sequence[int] = (512, 128),
) -> ProjectionNetwork:
    """ResNet-18 with the stem that images of `size` pixels need, and its projection head."""
    trunk = ResNet18(width, stem_for(size), norm, activation)
    return ProjectionNetwork(
        trunk,
        head_widths=head_widths,
        unit_embedding=unit_embedding,
        norm=norm,
        activation=activation,
    )


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """He initialisation of convolutions, PyTorch's usual one of linear layers, drawn anew."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)
