"""Standardised features of images on one grid: the space that feature methods work in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.backbones.contract import grid_of
from methods.backbones.features import Extractor, joined
from methods.backbones.table import FeatureTable
from methods.backbones.weights import BACKBONE, FrozenBackbone, load_backbone, restore_backbone
from methods.contract import Context, TrialData, unit
from methods.hyperparameter import Hyperparameter, Value, complete
from methods.state import below, under

# Strides whose features are used together, finest first.
LEVELS: Mapping[str, tuple[int, ...]] = {"8": (8,), "16": (16,), "8+16": (8, 16)}

SPACE: tuple[Hyperparameter, ...] = (
    BACKBONE,
    Hyperparameter(
        "levels",
        "8+16",
        "strides of the features that are used; coarser ones are enlarged to the finest grid",
        choices=tuple(LEVELS),
        unit="pixels of the image",
        source="ours; PatchCore (Roth et al., 2022) joins two levels likewise",
    ),
    Hyperparameter(
        "scale",
        1.0,
        "side of the images that the network sees: small ones show it large defects, large ones"
        " small defects",
        low=0.5,
        high=1.0,
        unit="of the side of the study's images",
        source="ours",
    ),
)

FEWEST_CELLS = 4
_BATCH = 32
# A channel that hardly varies among normal images must not drown the others.
_LEAST_SPREAD = 1e-3


@dataclass
class FeatureSpace:
    """Features divided into levels, each channel standardised by the training normals.

    `centre` and `scale` `[C]` are mean and standard deviation of each channel over all positions of
    all training images.
    """

    name: str
    extractor: Extractor
    centre: Tensor
    scale: Tensor

    @classmethod
    def fitted(cls, data: TrialData, values: Mapping[str, Any], context: Context) -> FeatureSpace:
        """The space of a trial on its device, measured on the training images."""
        extractor = extractor_of(data.features, values, context)
        count, total, square = 0, torch.zeros(()), torch.zeros(())
        for part in data.train.split(_BATCH):
            found = joined(extractor(unit(part.to(context.device)))).double()
            count += found[:, 0].numel()
            total = total.to(found) + found.sum((0, 2, 3))
            square = square.to(found) + found.square().sum((0, 2, 3))
        centre = total / count
        spread = (square / count - centre.square()).clamp(min=0).sqrt()
        largest = float(spread.max())
        if not largest > 0:
            raise ValueError(
                f"the features of all {len(data.train)} training images are the same at every "
                "position; give images that differ, or another backbone"
            )
        spread = spread.clamp(min=_LEAST_SPREAD * largest)
        return cls(str(values["backbone"]), extractor, centre.float(), spread.float())

    @property
    def slices(self) -> dict[str, slice]:
        """Channels of each level by the name of its stride; `all` for all of them."""
        found, first = {"all": slice(0, sum(self.extractor.channels))}, 0
        for stride, channels in zip(
            self.extractor.backbone.strides, self.extractor.channels, strict=True
        ):
            found[str(stride)] = slice(first, first + channels)
            first += channels
        return found

    def __call__(self, images: Tensor) -> Tensor:
        """`[B, C, h, w]` of images `[B, 3, H, W]` in [0, 1], without a gradient."""
        return self.standardised(self.extractor(images.to(self.centre.device)))

    def standardised(self, levels: Sequence[Tensor]) -> Tensor:
        """Features of every level as one standardised `[B, C, h, w]`."""
        found = joined([level.to(self.centre.dtype) for level in levels])
        return (found - self.centre[:, None, None]) / self.scale[:, None, None]

    def weights(self) -> dict[str, Tensor]:
        """What `restored` needs beside the backbone's own weights, of which it holds the digest."""
        own = {"centre": self.centre, "scale": self.scale}
        return {**under("space", own), "backbone.digest": self.extractor.backbone.fingerprint()}

    def frozen(self) -> dict[str, Tensor]:
        """The backbone's weights, for whoever keeps a detector where its package may be missing."""
        return under("backbone", self.extractor.backbone.tensors())

    @classmethod
    def restored(cls, values: Mapping[str, Any], weights: Mapping[str, Tensor]) -> FeatureSpace:
        """The space that `weights` came from, on the CPU, in float32."""
        own, name = below("space", weights), str(values["backbone"])
        strides = LEVELS[values["levels"]]
        backbone = restore_backbone(name, strides, below("backbone", weights))
        extractor = Extractor(backbone, scale=float(values["scale"]))
        return cls(name, extractor, own["centre"], own["scale"])


def extractor_of(
    tables: Sequence[FeatureTable], values: Mapping[str, Value], context: Context
) -> Extractor:
    """The extractor that hyperparameters name, on the device, with features that are known."""
    backbone = load_backbone(str(values["backbone"]), LEVELS[str(values["levels"])])
    scale = float(values["scale"])
    return Extractor(backbone, context.precision, tables, scale).to(context.device)


def check_space(data: TrialData, values: Mapping[str, Value], cells: int = FEWEST_CELLS) -> None:
    """Raise ValueError where a backbone cannot be had, or images are too small for its grid."""
    strides = LEVELS[str(values["levels"])]
    load_backbone(str(values["backbone"]), strides)
    grid = _grid(data, values)
    if min(grid) < cells:
        scale = float(values["scale"])
        least = math.ceil(cells * strides[0] / scale)
        seen = "" if scale == 1 else f", seen at a scale of {scale:g},"
        raise ValueError(
            f"images of {data.size[0]} x {data.size[1]} pixels{seen} give a grid of {grid[0]} x "
            f"{grid[1]} features, but {cells} a side are needed; use --size {least} or more"
            + ("" if scale == 1 else ", or --set scale=1")
        )


def _grid(data: TrialData, values: Mapping[str, Value]) -> tuple[int, int]:
    return grid_of(data.size, LEVELS[str(values["levels"])][0], float(values["scale"]))


def features_of(space: FeatureSpace, images: Tensor) -> Tensor:
    """Standardised features of images uint8 `[N, 3, H, W]`, a part at a time: `[N, C, h, w]`."""
    device = space.centre.device
    return torch.cat([space(unit(part.to(device))) for part in images.split(_BATCH)])


class OnFeatures:
    """What methods on a frozen network's features share; each declares `SPACE`."""

    hyperparameters: ClassVar[tuple[Hyperparameter, ...]]

    def backbone(self, hyperparameters: Mapping[str, Value]) -> FrozenBackbone:
        """The frozen network. Raises BackboneError where it cannot be had."""
        values = self._complete(hyperparameters)
        return load_backbone(str(values["backbone"]), LEVELS[values["levels"]])

    def tabulate(
        self, hyperparameters: Mapping[str, Value], sets: Sequence[Tensor], context: Context
    ) -> FeatureTable:
        """Features of sets of images uint8 `[N, 3, H, W]`; equal images are computed once."""
        return extractor_of((), self._complete(hyperparameters), context).tabulated(sets)

    def resolves(self, data: TrialData, hyperparameters: Mapping[str, Value]) -> bool:
        """Whether the network sees enough of images of this size."""
        values = self._complete(hyperparameters)
        return min(_grid(data, values)) >= self.fewest_cells(values)

    def fewest_cells(self, values: Mapping[str, Any]) -> int:
        """The fewest features a side that a detector of these hyperparameters works on."""
        return FEWEST_CELLS

    def _complete(self, hyperparameters: Mapping[str, Value]) -> dict[str, Any]:
        return {**complete(self.hyperparameters, hyperparameters)}


class OverBackbone:
    """What detectors in a space of features share."""

    space: FeatureSpace

    @property
    def backbone(self) -> FrozenBackbone:
        """The frozen network."""
        return self.space.extractor.backbone

    def frozen(self) -> dict[str, Tensor]:
        """The backbone's weights."""
        return self.space.frozen()
