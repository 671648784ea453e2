"""Images cut into tiles and put together again; random crops and small motions for training."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def tile_size(size: tuple[int, int], tiles: int) -> tuple[int, int]:
    """Height and width of a tile; raises ValueError where `tiles` do not divide both sides."""
    if size[0] % tiles or size[1] % tiles:
        raise ValueError(
            f"images are {size[0]} x {size[1]}, but tiles_per_side {tiles} must divide both sides; "
            "prepare the data at another size, or take images whole with tiles_per_side 1"
        )
    return size[0] // tiles, size[1] // tiles


def cut(images: Tensor, tiles: int) -> Tensor:
    """`[B, C, H, W]` to its tiles `[B * tiles^2, C, h, w]`, row by row."""
    if tiles == 1:
        return images
    count, channels, height, width = images.shape
    parts = images.reshape(count, channels, tiles, height // tiles, tiles, width // tiles)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(
        count * tiles**2, channels, height // tiles, width // tiles
    )


def stitch(parts: Tensor, tiles: int) -> Tensor:
    """The inverse of `cut`."""
    if tiles == 1:
        return parts
    _, channels, height, width = parts.shape
    grid = parts.reshape(-1, tiles, tiles, channels, height, width)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, tiles * height, tiles * width)


def random_crops(images: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """One crop of `size` from a random place of each image: `[B, C, h, w]`."""
    device = images.device
    rows, columns = (
        torch.randint(whole - part + 1, (len(images), 1), generator=generator, device=device)
        + torch.arange(part, device=device)
        for whole, part in zip(images.shape[2:], size, strict=True)
    )
    first = torch.arange(len(images), device=device)[:, None, None]
    # Advanced indices around a slice put the channels last.
    return images[first, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def move(images: Tensor, rotation: float, shift: float, generator: torch.Generator) -> Tensor:
    """Turn each image by up to `rotation` degrees and shift it by up to `shift` of its sides.

    Both uniform; what comes into view is the mirrored border. Float `[B, C, H, W]`.
    """
    if rotation == 0 and shift == 0:
        return images
    count, _, height, width = images.shape
    draws = 2 * torch.rand(count, 3, generator=generator, device=images.device) - 1
    angle = draws[:, 0] * math.radians(rotation)
    cos, sin = angle.cos(), angle.sin()
    places = 2 * shift * draws[:, 1:]
    # In the sampler's coordinates both sides are 2 long, so a turn takes their ratio in.
    top = torch.stack((cos, -sin * height / width, places[:, 0]), dim=1)
    bottom = torch.stack((sin * width / height, cos, places[:, 1]), dim=1)
    grid = F.affine_grid(torch.stack((top, bottom), dim=1), list(images.shape), False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
