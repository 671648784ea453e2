"""Symmetries of training images, or turns, drawn for each image of a batch."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Augmentation = Literal["none", "hflip", "flips", "dihedral", "rotations"]


def augment(images: Tensor, choice: Augmentation, generator: torch.Generator) -> Tensor:
    """Flip (and transpose, for `dihedral`) each image of `[B, C, H, W]` with probability 1/2 each.

    The three together reach all eight symmetries of a square equally often. `rotations` flips both
    ways and turns by any angle. Raises ValueError for `dihedral` on images that are not square.
    """
    if choice == "none":
        return images
    check_augmentation(choice, (int(images.shape[2]), int(images.shape[3])))
    coin = torch.rand(3, len(images), generator=generator, device=generator.device) < 0.5
    across, down, diagonal = coin.view(3, -1, 1, 1, 1)
    # kornia's flips are these calls, at a second or more of import.
    images = torch.where(across, images.flip(-1), images)
    if choice in ("flips", "dihedral", "rotations"):
        images = torch.where(down, images.flip(-2), images)
    if choice == "dihedral":
        images = torch.where(diagonal, images.transpose(-1, -2), images)
    if choice == "rotations":
        share = torch.rand(len(images), generator=generator, device=generator.device)
        images = turned(images, 2 * math.pi * share)
    return images


def turned(images: Tensor, angle: Tensor) -> Tensor:
    """Each image of uint8 `[B, C, H, W]` turned by its `angle` `[B]` in radians about its centre;
    what comes into view is the mirrored border."""
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # In the sampler's coordinates both sides are 2 long, so a turn takes their ratio in.
    aspect = images.shape[2] / images.shape[3]
    rows = (cosine, -sine * aspect, zero, sine / aspect, cosine, zero)
    matrices = torch.stack(rows, dim=1).view(-1, 2, 3)
    places = F.affine_grid(matrices, list(images.shape), align_corners=False)
    found = F.grid_sample(images.float(), places, padding_mode="reflection", align_corners=False)
    return found.round().clamp(0, 255).to(images.dtype)


def check_augmentation(choice: str, size: tuple[int, int]) -> None:
    if choice == "dihedral" and size[0] != size[1]:
        raise ValueError(
            f"augmentation is dihedral, but images are {size[0]} x {size[1]}; quarter turns need "
            "square images: choose flips, or prepare the data square"
        )
