"""Symmetries of training images, drawn for each image of a batch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Augmentation = Literal["none", "hflip", "flips", "dihedral"]


def augment(images: Tensor, choice: Augmentation, generator: torch.Generator) -> Tensor:
    """Flip (and transpose, for `dihedral`) each image of `[B, C, H, W]` with probability 1/2 each.

    The three together reach all eight symmetries of a square equally often. Raises ValueError for
    `dihedral` on images that are not square.
    """
    if choice == "none":
        return images
    check_augmentation(choice, (int(images.shape[2]), int(images.shape[3])))
    coin = torch.rand(3, len(images), generator=generator, device=generator.device) < 0.5
    across, down, diagonal = coin.view(3, -1, 1, 1, 1)
    # kornia's flips are these calls, at a second or more of import.
    images = torch.where(across, images.flip(-1), images)
    if choice in ("flips", "dihedral"):
        images = torch.where(down, images.flip(-2), images)
    if choice == "dihedral":
        images = torch.where(diagonal, images.transpose(-1, -2), images)
    return images


def check_augmentation(choice: str, size: tuple[int, int]) -> None:
    if choice == "dihedral" and size[0] != size[1]:
        raise ValueError(
            f"augmentation is dihedral, but images are {size[0]} x {size[1]}; quarter turns need "
            "square images: choose flips, or prepare the data square"
        )
