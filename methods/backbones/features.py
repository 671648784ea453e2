"""Features of images: from the backbone, or from a table of images that were seen before.

The features of an image depend on its pixels, the backbone and nothing else. A study computes those
of its training, held-out, unlabelled and pasted images once; every trial finds them in a table by
the content of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.backbones.contract import grid_of, scaled_size
from methods.backbones.table import KEY_BYTES, FeatureTable, keys_of
from methods.backbones.weights import FrozenBackbone
from methods.contract import Precision, unit

_BATCH = 16


class Extractor:
    """A backbone in one number format, with what it said before; it sees images at `scale`.

    Features are float32 `[B, C, h, w]` on the device of the images, finest first.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        precision: Precision = "float32",
        tables: Sequence[FeatureTable] = (),
        scale: float = 1.0,
    ) -> None:
        self.backbone, self.precision, self.scale = backbone, precision, scale
        own = [t for t in tables if t.serves(backbone.digest, backbone.strides, scale)]
        self.table = own[0] if own else None

    @property
    def channels(self) -> tuple[int, ...]:
        return self.backbone.channels

    def to(self, device: torch.device) -> Extractor:
        """With the backbone on a device; a table stays where it is."""
        self.backbone = self.backbone.on(device)
        return self

    def grid(self, size: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of the finest features of images of (height, width)."""
        return grid_of(size, self.backbone.strides[0], self.scale)

    def seen(self, images: Tensor) -> list[Tensor]:
        """What the backbone says of images `[B, 3, H, W]` at this scale, in its own precision."""
        if self.scale != 1:
            size = scaled_size(images.shape[-2:], self.scale)
            images = F.interpolate(images, size, mode="bilinear", align_corners=False)
        found: list[Tensor] = self.backbone(images)
        return found

    @torch.no_grad()
    def __call__(self, images: Tensor) -> list[Tensor]:
        """Features of `[B, 3, H, W]` in [0, 1]."""
        table = self.table
        if table is None:
            return self.computed(images)
        rows = [table.rows.get(key, -1) for key in keys_of(images)]
        missing = [place for place, row in enumerate(rows) if row < 0]
        if len(missing) == len(rows):
            return self.computed(images)
        found = [part.to(images.device) for part in table.taken(rows, self.backbone.strides)]
        if missing:
            for part, fresh in zip(found, self.computed(images[missing]), strict=True):
                part[missing] = fresh
        return found

    @torch.no_grad()
    def computed(self, images: Tensor) -> list[Tensor]:
        """Features by the backbone, a few images at a time, whatever the table holds."""
        parts = [self.differentiable(part) for part in images.split(_BATCH)]
        return [torch.cat(level) for level in zip(*parts, strict=True)]

    def differentiable(self, images: Tensor) -> list[Tensor]:
        """As `computed`, of one batch, with the graph from the images to their features."""
        enabled = self.precision == "bfloat16"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=enabled):
            return [part.to(images.dtype) for part in self.seen(images)]

    def tabulated(self, sets: Sequence[Tensor]) -> FeatureTable:
        """The table of sets of images uint8 `[N, 3, H, W]`; equal images are computed once."""
        keys: dict[bytes, None] = {}
        parts: list[list[Tensor]] = []
        for part in (part for images in sets for part in images.split(_BATCH)):
            own = keys_of(part)
            new = [place for place, key in enumerate(own) if key not in keys]
            keys.update(dict.fromkeys(own))
            if new:
                found = self.computed(unit(part[new].to(self.backbone.device)))
                parts.append([level.half().cpu() for level in found])
        maps = tuple(torch.cat(level) for level in zip(*parts, strict=True))
        packed = torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8)
        return FeatureTable(
            self.backbone.digest,
            self.backbone.strides,
            packed.view(-1, KEY_BYTES),
            maps,
            self.scale,
        )


def joined(levels: Sequence[Tensor]) -> Tensor:
    """Features of several strides as one `[B, sum of C, h, w]` on the grid of the finest."""
    size = [int(n) for n in levels[0].shape[-2:]]
    return torch.cat(
        [
            part
            if list(part.shape[-2:]) == size
            else F.interpolate(part, size, mode="bilinear", align_corners=False)
            for part in levels
        ],
        1,
    )
