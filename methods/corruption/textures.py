"""What a corrupted region is filled with.

Tiles of three sources (a pool of foreign images, strongly changed normal images, formulas) are
gathered in a bank once in a while; each sample then takes one tile, moved and recoloured at
random, and is read at the corrupted pixels alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.corruption.procedural import procedural
from methods.corruption.rows import Rows, between, choose, constant, log_uniform

SOURCES = ("pool", "self", "procedural", "constant")
POOL, SELF, PROCEDURAL, CONSTANT = range(4)

_TILE = 128  # largest side of a tile in pixels
_CHUNK = 16


@dataclass(frozen=True)
class TextureSettings:
    """Hyperparameters of the filling; see `methods.corruption.hyperparameters`."""

    texture_pool_share: float = 0.5
    texture_self_share: float = 0.2
    texture_procedural_share: float = 0.2
    texture_constant_share: float = 0.1
    texture_saturation: float = 0.5

    def source_shares(self, pool: bool) -> tuple[float, float, float, float]:
        """Weights of `SOURCES`; without a pool its part falls to the formulas."""
        formulas = self.texture_procedural_share + (0 if pool else self.texture_pool_share)
        return (
            self.texture_pool_share if pool else 0.0,
            self.texture_self_share,
            formulas,
            self.texture_constant_share,
        )


@dataclass(frozen=True)
class TextureDraw(Rows):
    """One filling a sample.

    `source` `[B]` numbers `SOURCES`; `pick` `[B]` in [0, 1) chooses among its tiles. `frame`
    `[B, 2, 3]` takes places in units of the shorter side to a tile's [-1, 1]. A tile t in [0, 1]
    becomes clamp(gain * t + offset) with `gain` and `offset` `[B, 3]`, after its channels have
    been taken in the order `channels` `[B, 3]`; `saturation` `[B]` then mixes it with its grey.
    """

    source: Tensor
    pick: Tensor
    frame: Tensor
    gain: Tensor
    offset: Tensor
    channels: Tensor
    saturation: Tensor


@dataclass(frozen=True)
class TextureBank:
    """`tiles` uint8 `[Q, T, T, 3]`; `counts` says how many are of each of the first sources."""

    tiles: Tensor
    counts: tuple[int, int, int]


class TextureSources:
    """Where tiles come from: `normals` uint8 `[N, 3, H, W]`, `pool` uint8 `[P, 3, h, w]` or None.

    `bank` makes a fresh bank from a generator: the same generator state, the same tiles.
    """

    def __init__(self, normals: Tensor, pool: Tensor | None, count: int = 64) -> None:
        if pool is not None and (pool.dtype != torch.uint8 or pool.ndim != 4 or pool.shape[1] != 3):
            raise ValueError(
                f"textures are {pool.dtype} {list(pool.shape)}, but must be uint8 [P, 3, h, w]"
            )
        self.tile = min(_TILE, max(16, min(normals.shape[2:])))
        self.normals = normals
        self.pool = None if pool is None or len(pool) == 0 else self._shrink(pool)
        self.count = count

    @property
    def has_pool(self) -> bool:
        return self.pool is not None

    def bank(self, generator: torch.Generator) -> TextureBank:
        """Tiles of every source; pool crops keep a quarter to all of an image's side."""
        tiles, counts = [], []
        if self.pool is not None:
            tiles.append(self._crops(self.pool, 0.25, 1.0, 1.0, generator))
        counts.append(self.count if tiles else 0)
        tiles.append(self._crops(self.normals, 0.2, 1.2, 2.0, generator))
        grey = procedural(self.count, self.tile, generator)
        tiles.append((grey * 255).round_().to(torch.uint8)[:, None].expand(-1, 3, -1, -1))
        counts += [self.count, self.count]
        packed = torch.cat(tiles).permute(0, 2, 3, 1).contiguous()
        return TextureBank(packed, (counts[0], counts[1], counts[2]))

    def _shrink(self, pool: Tensor) -> Tensor:
        """The pool at twice the side of a tile at most, so that crops do not alias."""
        factor = 2 * self.tile / min(pool.shape[2:])
        if factor >= 1:
            return pool
        size = (round(pool.shape[2] * factor), round(pool.shape[3] * factor))
        parts = [
            F.interpolate(part.float(), size=size, mode="area").round_().to(torch.uint8)
            for part in pool.split(_CHUNK)
        ]
        return torch.cat(parts)

    def _crops(
        self, images: Tensor, low: float, high: float, stretch: float, generator: torch.Generator
    ) -> Tensor:
        device = generator.device
        share = torch.rand(8, self.count, generator=generator, device=device)
        index = (share[0] * len(images)).long().clamp(max=len(images) - 1)
        zoom = between(share[1], low, high)
        # the longer side covers more of [-1, 1] a pixel: keep the crop square in pixels
        square = torch.tensor(
            [min(images.shape[2:]) / images.shape[3], min(images.shape[2:]) / images.shape[2]],
            device=device,
        )
        frame = _frames(2 * math.pi * share[2], zoom, share[3], stretch, share[4] < 0.5)
        frame[:, 0, :2] *= square[0]
        frame[:, 1, :2] *= square[1]
        room = (1 - zoom.clamp(max=1))[:, None] * (2 * share[5:7].T - 1)
        frame[:, :, 2] = room
        tiles = []
        for rows in torch.arange(self.count, device=device).split(_CHUNK):
            where = F.affine_grid(
                frame[rows], [len(rows), 3, self.tile, self.tile], align_corners=False
            )
            crop = F.grid_sample(
                images[index[rows]].float(),
                where,
                padding_mode="reflection",
                align_corners=False,
            )
            tiles.append(crop.round_().clamp_(0, 255).to(torch.uint8))
        return torch.cat(tiles)


def draw_textures(
    batch: int, generator: torch.Generator, settings: TextureSettings, pool: bool
) -> TextureDraw:
    """Draw the filling of a batch; `pool` says whether foreign images are at hand."""
    device = generator.device
    share = torch.rand(10, batch, generator=generator, device=device)
    colour = torch.rand(2, batch, 3, generator=generator, device=device)
    source = choose(share[0], settings.source_shares(pool))
    frame = _frames(
        2 * math.pi * share[2], log_uniform(share[3], 1.5, 5.0), share[4], 1.5, share[5] < 0.5
    )
    frame[:, :, 2] = 2 * share[6:8].T - 1

    sign = torch.where(share[8] < 0.35, -1.0, 1.0)[:, None]
    contrast = between(share[9], 0.5, 1.5)[:, None] * between(colour[0], 0.8, 1.2) * sign
    shift = 0.5 - 0.5 * contrast + between(colour[1], -0.3, 0.3)
    mapped = source[:, None] >= PROCEDURAL
    flat = source[:, None] == CONSTANT
    gain = torch.where(flat, 0.0, torch.where(mapped, colour[1] - colour[0], contrast))
    offset = torch.where(mapped, colour[0], shift)
    order = torch.rand(batch, 3, generator=generator, device=device).argsort(dim=1)
    channels = torch.where((source == SELF)[:, None], order, torch.arange(3, device=device))
    return TextureDraw(
        source=source,
        pick=share[1],
        frame=frame,
        gain=gain,
        offset=offset,
        channels=channels,
        saturation=torch.full((batch,), settings.texture_saturation, device=device),
    )


def textures(draw: TextureDraw, bank: TextureBank, size: tuple[int, int]) -> Tensor:
    """The whole filling of each sample, `[B, 3, H, W]` in [0, 1]."""
    everywhere = torch.ones(len(draw), *size, dtype=torch.bool, device=draw.pick.device)
    sample, y, x = torch.nonzero(everywhere, as_tuple=True)
    values = textures_at(draw, bank, size, (sample, y, x))
    return values.view(len(draw), *size, 3).permute(0, 3, 1, 2)


def textures_at(
    draw: TextureDraw,
    bank: TextureBank,
    size: tuple[int, int],
    where: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    """The filling at `where` (sample, row and column, each `[N]`): `[N, 3]` in [0, 1].

    A tile is repeated by reflection and read bilinearly. Few pixels of a batch are corrupted, so
    reading these alone is several times cheaper than filling whole images.
    """
    sample, y, x = where
    device, tile = draw.pick.device, bank.tiles.shape[1]
    counts = constant([*bank.counts, 1], device)
    first = constant([0, bank.counts[0], sum(bank.counts[:2]), 0], device)
    within = (draw.pick * counts[draw.source]).long()
    index = first[draw.source] + within.clamp(max=counts[draw.source] - 1)

    # from places in units of the shorter side to a tile's pixels
    frame = draw.frame * (0.5 * tile)
    frame[:, :, :2] /= min(size)
    frame[:, :, 2] += frame[:, :, :2].sum(dim=2) * 0.5 + 0.5 * tile
    frame = frame[sample]
    place = torch.addcmul(frame[:, :, 2], frame[:, :, 0], x[:, None].float())
    place.addcmul_(frame[:, :, 1], y[:, None].float()).remainder_(2 * tile)
    place = torch.minimum(place, 2 * tile - place).sub_(0.5).clamp_(0, tile - 1)
    corner = place.long().clamp_(max=tile - 2)
    share = place - corner
    row = (index[sample] * tile + corner[:, 1]) * tile + corner[:, 0]
    pixels = bank.tiles.view(-1, 3)
    upper, lower = (
        torch.lerp(pixels[row + down].float(), pixels[row + down + 1].float(), share[:, :1])
        for down in (0, tile)
    )
    value = torch.lerp(upper, lower, share[:, 1:])

    channels = draw.channels[sample]
    value = torch.addcmul(draw.offset[sample], value.gather(1, channels), draw.gain[sample] / 255)
    value = value.clamp_(0.0, 1.0)
    grey = value @ value.new_full((3, 1), 1 / 3)  # a reduction over three is slow
    return torch.lerp(grey, value, draw.saturation[sample, None])


def _frames(angle: Tensor, zoom: Tensor, skew: Tensor, stretch: float, mirror: Tensor) -> Tensor:
    """`[S, 2, 3]` rotations, times `zoom`, stretched by up to `stretch` one way, without shift."""
    squeeze = log_uniform(skew, 1.0 / stretch, stretch) if stretch > 1 else torch.ones_like(skew)
    cosine, sine = angle.cos() * zoom, angle.sin() * zoom
    flip = torch.where(mirror, -1.0, 1.0)
    frame = torch.zeros(len(angle), 2, 3, device=angle.device)
    frame[:, 0, 0], frame[:, 0, 1] = cosine * squeeze, -sine / squeeze * flip
    frame[:, 1, 0], frame[:, 1, 1] = sine * squeeze, cosine / squeeze * flip
    return frame
