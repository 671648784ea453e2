"""Reading pixels from elsewhere in the same image, for the augmentations that copy."""

from __future__ import annotations

import torch
from torch import Tensor


def gather_pixels(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """`[B, 3, H, W]`: at every pixel the one of the same image at (`rows`, `columns`).

    Both are whole numbers `[B, H, W]` within the image. Differentiable in the images.
    """
    width = images.shape[3]
    index = (rows * width + columns).flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return torch.gather(images.flatten(2), 2, index).view_as(images)


def pixel_grid(size: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column number of every pixel, from 0: `[1, H, 1]` and `[1, 1, W]`."""
    rows = torch.arange(size[0], device=like.device)[None, :, None]
    columns = torch.arange(size[1], device=like.device)[None, None, :]
    return rows, columns
