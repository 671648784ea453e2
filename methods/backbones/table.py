"""Features of known images, found by the content of an image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

KEY_BYTES = 16


@dataclass(frozen=True)
class FeatureTable:
    """What a backbone said of images, in one number format.

    `keys` uint8 `[N, 16]` are digests of images uint8 `[3, H, W]`, `maps` float16 `[N, C, h, w]`,
    one for each of `strides`, of images seen at `scale`. `digest` is that of the backbone's
    weights.
    """

    digest: str
    strides: tuple[int, ...]
    keys: Tensor = field(repr=False)
    maps: tuple[Tensor, ...] = field(repr=False)
    scale: float = 1.0

    @cached_property
    def rows(self) -> dict[bytes, int]:
        """Row of each image by its key."""
        return {key.tobytes(): row for row, key in enumerate(self.keys.numpy())}

    def serves(self, digest: str, strides: Sequence[int], scale: float = 1.0) -> bool:
        """Whether it holds the features of a backbone at all of these strides and this scale."""
        same = self.digest == digest and self.scale == scale
        return same and set(strides) <= set(self.strides)

    def taken(self, rows: Sequence[int], strides: Sequence[int]) -> list[Tensor]:
        """Features float32 of some images at some strides; a row below 0 gives those of any."""
        held = dict(zip(self.strides, self.maps, strict=True))
        chosen = [max(0, row) for row in rows]
        return [held[stride][chosen].float() for stride in strides]


def keys_of(images: Tensor) -> list[bytes]:
    """A digest of each image `[B, 3, H, W]`, uint8 or in [0, 1]; equal pixels, equal keys.

    An image in [0, 1] that is not in whole grey levels of 255 has the key of no uint8 image.
    """
    if images.dtype == torch.uint8:
        return [_digest(image) for image in images.cpu()]
    levels = (images * 255).round().clamp(0, 255).to(torch.uint8)
    whole = (levels.to(torch.float32) / 255.0 == images).flatten(1).all(1).tolist()
    return [
        _digest(level if is_whole else image.float())
        for level, image, is_whole in zip(levels.cpu(), images.cpu(), whole, strict=True)
    ]


def _digest(image: Tensor) -> bytes:
    return hashlib.blake2b(image.contiguous().numpy().tobytes(), digest_size=KEY_BYTES).digest()
