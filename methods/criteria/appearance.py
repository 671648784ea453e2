"""A fixed embedding of images: what is most unusual in an image, beside normal ones.

No trial trains it, so it can say which synthetic defects look like what is in the unlabelled batch
without asking the detector that is to be judged. Every pixel is described by 18 filter responses
(light and two colours less their median over the image, local contrast, edge and grain of the
light, at three scales), and compared with a memory of such descriptions from normal images, after
PatchCore (Roth et al., 2022), whose features come from a trained network instead. An image's
embedding is the mean difference of its most unusual fiftieth of pixels from their nearest
neighbours in the memory, signs kept and lengths compressed, and the logarithm of their distance.
What lifts a whole image cancels; a local defect remains.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.scoring.selection import order_statistic
from methods.scoring.windows import window_sum

WIDTH = 19
_SCALES = (1, 2, 4)
_WORKING_SIDE = 64
_LATTICE_SIDE = 32
_MEMORY = 512
_TOP_SHARE = 0.02
_FEWEST = 4
_SMALLEST = 1e-3  # a quarter of a grey level of 256
_FLAT = 1e-4
_BATCH = 32
_ROWS = 1 << 14


@dataclass(frozen=True)
class Appearance:
    """What normal images look like: `memory` `[K, 18]`, standardised by `centre` and `scale`."""

    memory: Tensor
    centre: Tensor
    scale: Tensor

    @classmethod
    def of(cls, normals: Tensor, seed: int = 0) -> Appearance:
        """From normal images `[N, 3, H, W]` in [0, 1]; the memory is drawn by `seed`."""
        return cls(*sample(normals.split(_BATCH), _MEMORY, seed))

    def embed(self, images: Tensor) -> Tensor:
        """`[B, 19]` of images `[B, 3, H, W]` in [0, 1]."""
        if len(images) == 0:
            return images.new_zeros((0, WIDTH))
        return torch.cat([self._embed(part) for part in images.split(_BATCH)])

    def _embed(self, images: Tensor) -> Tensor:
        found = (descriptions(images) - self.centre) / self.scale
        count, pixels, _ = found.shape
        distances, owner = nearest(found.flatten(0, 1), self.memory)
        residual = found - self.memory[owner].view_as(found)
        kept = max(_FEWEST, round(_TOP_SHARE * pixels))
        top, place = distances.view(count, pixels).topk(kept, dim=1)
        mean = residual.take_along_dim(place[..., None], dim=1).mean(1)
        size = (top.mean(1, keepdim=True) + _SMALLEST).log()
        return torch.cat((mean.sign() * mean.abs().log1p(), size), dim=1)


def nearest(rows: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Distance `[R]` of rows `[R, D]` from the nearest of `[K, D]`, and which one it is."""
    lengths = memory.square().sum(1)
    # A graph that is exported takes any number of rows, and cannot be cut into parts.
    parts = [rows] if torch.compiler.is_exporting() else rows.split(_ROWS)
    owner = torch.cat([_lowest(lengths - 2 * part @ memory.T) for part in parts])
    return torch.linalg.vector_norm(rows - memory[owner], dim=1), owner


def _lowest(values: Tensor) -> Tensor:
    """Where each row `[R, K]` is lowest, the first where several are: `[R]`."""
    if values.device.type != "cpu" or torch.compiler.is_exporting():
        return values.argmin(1)
    # The same, but numpy's takes a sixth of the time on a processor.
    return torch.from_numpy(values.detach().numpy().argmin(1))


def sample(batches: Iterable[Tensor], count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """`count` descriptions `[count, 18]` of normal images, `[B, 3, H, W]` each, drawn by `seed` and
    standardised by the mean and the spread `[18]` of all, which follow."""
    found = torch.cat([descriptions(part).flatten(0, 1) for part in batches])
    centre, scale = found.mean(0), found.std(0, correction=0).clamp(min=_SMALLEST)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(found), generator=generator)[:count].to(found.device)
    return (found[chosen] - centre) / scale, centre, scale


def descriptions(images: Tensor) -> Tensor:
    """Filter responses `[B, P, 18]` at P pixels of `[B, 3, H, W]`, about 32 x 32 of them."""
    images = _pooled(images, _shrink(images.shape[-2:]))
    light = images.mean(1, keepdim=True)
    colours = torch.cat(
        (images[:, :1] - images[:, 1:2], images[:, :2].mean(1, keepdim=True) - images[:, 2:]), 1
    )
    planes = torch.cat((light, colours), 1)
    height, width = images.shape[-2:]
    medians = order_statistic(planes.flatten(2).flatten(0, 1), (height * width - 1) // 2)
    planes = planes - medians.view(-1, 3, 1, 1)
    maps = []
    for scale in _SCALES:
        small = _pooled(planes, scale) if min(height, width) >= 8 * scale else planes
        here = torch.cat((small, _structure(small[:, :1])), 1)
        if small is not planes:
            here = F.interpolate(here, (height, width), mode="bilinear", align_corners=False)
        maps.append(here)
    step = _step(height, width)
    return torch.cat(maps, 1)[..., ::step, ::step].flatten(2).transpose(1, 2)


def _pooled(planes: Tensor, side: int) -> Tensor:
    return planes if side == 1 else F.avg_pool2d(planes, side)


def lattice(size: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of the P pixels that images of (height, width) are described at."""
    shrink = _shrink(size)
    height, width = size[0] // shrink, size[1] // shrink
    step = _step(height, width)
    return -(-height // step), -(-width // step)


def _shrink(size: Sequence[int]) -> int:
    return max(1, min(size) // _WORKING_SIDE)


def _step(height: int, width: int) -> int:
    return -(-min(height, width) // _LATTICE_SIDE)


def _structure(light: Tensor) -> Tensor:
    """Local contrast, edge and grain `[B, 3, H, W]` of `[B, 1, H, W]`."""
    padded = F.pad(light, (2, 2, 2, 2), mode="replicate")
    # Where an area is flat, single precision leaves nothing of this difference but its rounding.
    exact = padded.double()
    mean, square = _mean(exact), _mean(exact.square())
    grain = _root((square - mean.square()).clamp(min=0)).to(light)
    down = (padded[..., 3:-1, 2:-2] - padded[..., 1:-3, 2:-2]) / 2
    right = (padded[..., 2:-2, 3:-1] - padded[..., 2:-2, 1:-3]) / 2
    edge = _root(down.square() + right.square())
    return torch.cat((light - mean.to(light), edge, grain), 1)


def _root(squares: Tensor) -> Tensor:
    """Never under `_FLAT`."""
    # Written so because ONNX's optimiser takes 1e-8 for 0 and drops a sum with it.
    return (squares / _FLAT**2 + 1).sqrt() * _FLAT


def _mean(padded: Tensor) -> Tensor:
    """Over 5 x 5 neighbours."""
    return window_sum(window_sum(padded, 5, 3), 5, 2) / 25
