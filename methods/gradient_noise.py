"""Gradient noise (Perlin, 1985) at any places, from a drawn lattice."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def gradient_noise(lattice: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Noise `[B, H, W]`, about -1 to 1, at places `y` and `x` `[B, H, W]` in cells.

    `lattice` `[B, L, L]` holds the angle of the gradient at every node, in radians, and repeats
    periodically. The fade is 6 t^5 - 15 t^4 + 10 t^3; a factor sqrt(2) brings the range to 1.
    """
    nodes = lattice.shape[1]
    flat = lattice.flatten(1)
    cell_y, cell_x = y.floor().long(), x.floor().long()
    within_y, within_x = y - y.floor(), x - x.floor()

    def corner(dy: int, dx: int) -> Tensor:
        index = ((cell_y + dy) % nodes) * nodes + (cell_x + dx) % nodes
        angle = flat.gather(1, index.flatten(1)).view_as(y)
        return angle.cos() * (within_x - dx) + angle.sin() * (within_y - dy)

    def fade(t: Tensor) -> Tensor:
        return t * t * t * (t * (t * 6 - 15) + 10)

    across = fade(within_x)
    upper = torch.lerp(corner(0, 0), corner(0, 1), across)
    lower = torch.lerp(corner(1, 0), corner(1, 1), across)
    return torch.lerp(upper, lower, fade(within_y)) * math.sqrt(2)
