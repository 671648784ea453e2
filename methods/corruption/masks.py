"""Where an image is corrupted: blobs, strokes and dots with smooth edges, a batch at a time.

Every length is a share of the image's shorter side. A mask is made as a *level*: the distance to
the region's outline in units of its edge width, positive inside. Levels are nearly linear across
an outline, so that they may be computed on a coarse grid and enlarged before they are clamped,
and the union of regions is the maximum of their levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.corruption.rows import Rows, between, choose, constant, log_uniform

KINDS = ("blob", "stroke", "dots")
BLOB, STROKE, DOTS = range(3)

_FLOOR = -8.0  # the level far outside every region
_COARSE = 128  # shorter side of the grid on which blobs are laid, at most
_NODES = 8  # displacement nodes along each axis of a blob
_STAMP = 40  # samples along each axis of a blob
_REACH = 2.5  # half-width of a blob's stamp in half-axes
_TURNS = 32  # changes of heading along a stroke
_SPACING = 0.75  # pixels between the discs of a stroke
_DOTS = 30  # dots of one component, at most
_LARGEST = 0.25  # share of the image that the ellipses of one sample may cover together


@dataclass(frozen=True)
class MaskSettings:
    """Hyperparameters of the corrupted region; see `methods.corruption.hyperparameters`."""

    blob_share: float = 0.6
    stroke_share: float = 0.3
    dots_share: float = 0.1
    components: int = 3
    blob_size: float = 0.2
    blob_deformation: float = 0.8
    stroke_width: float = 0.024
    stroke_length: float = 0.6
    edge_blur: float = 0.016

    def shares(self) -> tuple[float, float, float]:
        return self.blob_share, self.stroke_share, self.dots_share


@dataclass(frozen=True)
class MaskDraw(Rows):
    """B samples of C components each; lengths and places in units of the shorter side.

    `kind` `[B, C]` numbers `KINDS`, -1 where a component is absent. `centre` `[B, C, 2]` (x, y).
    Blobs: `axes` `[B, C, 2]` half-axes, `angle` `[B, C]`, `warp` `[B, C, 2, n, n]` displacement at
    the nodes, `deformation` `[B, C]` its largest length in half-axes. Strokes: `path`
    `[B, C, P, 2]`, `radius` `[B, C]`, `taper` `[B, C]`. Dots: `dots` `[B, C, D, 2]`, `dot_radius`
    `[B, C, D]`, negative where absent. `edge` `[B]` width over which a mask rises from 0 to 1.
    """

    kind: Tensor
    centre: Tensor
    axes: Tensor
    angle: Tensor
    warp: Tensor
    deformation: Tensor
    path: Tensor
    radius: Tensor
    taper: Tensor
    dots: Tensor
    dot_radius: Tensor
    edge: Tensor


def draw_masks(
    batch: int, size: tuple[int, int], generator: torch.Generator, settings: MaskSettings
) -> MaskDraw:
    """Draw the regions of a batch for images of `size` (height, width)."""
    device = generator.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    slots = settings.components
    pixel = 1.0 / min(size)
    extent = constant([size[1] * pixel, size[0] * pixel], device)
    edge, count = uniform(2, batch)
    shares = uniform(10, batch, slots)
    present = torch.arange(slots, device=device) < 1 + (count * slots).floor()[:, None]
    kind = torch.where(present, choose(shares[0], settings.shares()), -1)
    centre = torch.stack([shares[1], shares[2]], dim=-1) * extent

    axes = log_uniform(
        torch.stack([shares[3], shares[4]], dim=-1), settings.blob_size / 10, settings.blob_size
    )
    ellipses = (math.pi * axes.prod(dim=-1) * (kind == BLOB)).sum(dim=1)
    largest = _LARGEST * size[0] * size[1] * pixel**2
    axes = axes * (largest / ellipses.clamp(min=1e-9)).sqrt().clamp(max=1.0)[:, None, None]
    angle = math.pi * shares[5]
    nodes = 2 * uniform(batch, slots, 2, _NODES, _NODES) - 1
    fine = between(shares[6], 0.1, 0.9)[..., None, None, None]
    broad = F.avg_pool2d(nodes.flatten(0, 1), 3, 1, 1).view_as(nodes)
    warp = broad + fine * (nodes - broad)

    wander = between(shares[6], 0.03, 0.35)[..., None]
    turns = torch.randn(batch, slots, _TURNS, generator=generator, device=device) * wander
    heading = 2 * angle[..., None] + turns.cumsum(dim=-1)
    steps = torch.stack([heading.cos(), heading.sin()], dim=-1) / _TURNS
    path = steps.cumsum(dim=2)
    length = log_uniform(shares[7], settings.stroke_length / 6, settings.stroke_length)
    path = centre[:, :, None] + (path - path.mean(dim=2, keepdim=True)) * length[..., None, None]
    radius = log_uniform(shares[8], settings.stroke_width / 12, settings.stroke_width / 2)

    places = uniform(3, batch, slots, _DOTS)
    spread = between(shares[4], 0.05, 0.5)[..., None, None]
    dots = centre[:, :, None] + (2 * torch.stack([places[0], places[1]], dim=-1) - 1) * spread
    number = 5 + (shares[5] * (_DOTS - 4)).floor()
    shown = torch.arange(_DOTS, device=device) < number[..., None]
    dot_radius = log_uniform(places[2], settings.stroke_width / 6, settings.stroke_width / 1.5)
    return MaskDraw(
        kind=kind,
        centre=centre,
        axes=axes.clamp(min=pixel),
        angle=angle,
        warp=warp,
        deformation=settings.blob_deformation * between(shares[7], 0.25, 1.0),
        path=path,
        radius=radius.clamp(min=pixel / 2),
        taper=between(shares[9], 0.0, 0.9),
        dots=dots,
        dot_radius=torch.where(shown, dot_radius.clamp(min=pixel / 2), -1.0),
        edge=(settings.edge_blur * edge).clamp(min=pixel),
    )


def masks(draw: MaskDraw, size: tuple[int, int]) -> Tensor:
    """The regions as `[B, 1, H, W]` in [0, 1], 0.5 on the outline; opacity is not in it."""
    height, width = size
    shrink = min(1.0, _COARSE / min(size))
    coarse = (round(height * shrink), round(width * shrink))
    found = _components(draw, min(size))
    level = _blob_levels(draw, found, size, coarse)
    if coarse != size:
        level = F.interpolate(level[:, None], size=size, mode="bilinear", align_corners=False)
        level = level[:, 0]
    _stroke_levels(draw, found, level)
    _dot_levels(draw, found, level)
    level = level.clamp_(0.0, 1.0)
    # the smooth step 3 m^2 - 2 m^3 leaves no kink at the rim of a mask
    return level.square().mul_(level.mul_(-2.0).add_(3.0))[:, None]


def stamps(axes: Tensor, warp: Tensor, deformation: Tensor, edge: Tensor) -> Tensor:
    """Levels of S deformed ellipses `[S, n, n]`, each in the frame of its own half-axes.

    A stamp covers -2.5 to 2.5 half-axes both ways. The ellipse is x^2 + y^2 <= 1 after the
    coordinates have been moved by the smooth field `warp` of largest length `deformation`. The
    level is the first-order distance (1 - |v|) / |gradient of |v|| over the edge width.
    """
    enlarge = _enlarge(warp.device)
    move = enlarge @ warp @ enlarge.T
    longest = move.square().sum(dim=1).amax(dim=(1, 2)).clamp(min=1e-12).sqrt()
    move = move * (deformation / longest)[:, None, None, None]
    line = _REACH * _centres(_STAMP, warp.device)
    x = line + move[:, 0]
    y = line[:, None] + move[:, 1]
    squared = (x.square() + y.square()).clamp_(min=1e-4)
    steepness = (x / axes[:, :1, None]).square_() + (y / axes[:, 1:, None]).square_()
    norm = squared.sqrt()
    distance = (1.0 - norm) * norm / steepness.sqrt_()
    return distance / edge[:, None, None] + 0.5


@dataclass(frozen=True)
class _Components:
    """What the shapes of everything that follows depend on, and so must be known here.

    `of[kind]` are sample and slot of the components of a kind, `discs` `[B, C]` how many discs a
    stroke of its length needs, `most_discs` the most of any stroke; `reach[kind]` is how many
    pixels the widest disc of a kind reaches.
    """

    of: tuple[tuple[Tensor, Tensor], ...]
    discs: Tensor
    most_discs: int
    reach: tuple[int, ...]


def _components(draw: MaskDraw, side: int) -> _Components:
    """All in one look: each would wait for a device."""
    length = (draw.path[:, :, 1:] - draw.path[:, :, :-1]).norm(dim=-1).sum(dim=2)
    # As many discs as a stroke's own length asks for: others of the batch must not change it.
    discs = (length * side / _SPACING).ceil().clamp(min=1)
    wide = [draw.radius, draw.dot_radius.amax(dim=2)]
    largest = [
        torch.where(draw.kind == kind, value, 0.0).amax()
        for kind, value in (
            (STROKE, discs),
            (STROKE, wide[0] + 0.5 * draw.edge[:, None]),
            (DOTS, wide[1] + 0.5 * draw.edge[:, None]),
        )
    ]
    look = torch.cat([draw.kind.flatten().float(), torch.stack(largest)]).tolist()
    kinds, (most, *reach) = look[:-3], look[-3:]
    places = [[at for at, found in enumerate(kinds) if found == kind] for kind in range(len(KINDS))]
    # One copy for all, and none that waits.
    flat = torch.tensor([at for each in places for at in each], dtype=torch.long)
    flat = flat.to(draw.kind.device, non_blocking=True)
    slots = draw.kind.shape[1]
    of = tuple((part // slots, part % slots) for part in flat.split([len(p) for p in places]))
    pixels = [max(1, math.ceil(each * side)) for each in reach]
    return _Components(of, discs, int(most), (0, *pixels))


def _blob_levels(
    draw: MaskDraw, found: _Components, size: tuple[int, int], grid: tuple[int, int]
) -> Tensor:
    """`[B, h, w]`: the highest level of a sample's blobs at each place of the grid."""
    owner, slot = found.of[BLOB]
    level = draw.edge.new_full((len(draw.kind), *grid), _FLOOR)
    if len(owner) == 0:
        return level
    axes, angle, centre = draw.axes[owner, slot], draw.angle[owner, slot], draw.centre[owner, slot]
    stamp = stamps(
        axes, draw.warp[owner, slot], draw.deformation[owner, slot], draw.edge[owner]
    ).clamp_(min=_FLOOR, max=-_FLOOR)
    side = min(size)
    y = (_centres(grid[0], axes.device) + 1) * (0.5 * size[0] / side)
    x = (_centres(grid[1], axes.device) + 1) * (0.5 * size[1] / side)
    cosine, sine = angle.cos(), angle.sin()
    across = torch.stack([cosine, sine], dim=1) / (axes[:, :1] * _REACH)
    along = torch.stack([-sine, cosine], dim=1) / (axes[:, 1:] * _REACH)
    where = axes.new_empty(len(owner), *grid, 2)
    for i, row in enumerate((across, along)):
        shift = (row * centre).sum(dim=1, keepdim=True)
        torch.add(
            (row[:, :1] * x - shift)[:, None, :], (row[:, 1:] * y)[:, :, None], out=where[..., i]
        )
    # zeros beyond the stamp stand for the floor, hence the shift before and after
    laid = F.grid_sample((stamp - _FLOOR)[:, None], where, align_corners=False)[:, 0]
    laid.add_(_FLOOR)
    # At once: to find the samples of each slot would wait for a device once a slot.
    return level.scatter_reduce_(0, owner[:, None, None].expand_as(laid), laid, "amax")


def _stroke_levels(draw: MaskDraw, found: _Components, level: Tensor) -> None:
    owner, slot = found.of[STROKE]
    if len(owner) == 0:
        return
    path = draw.path[owner, slot]
    steps = path.shape[1] - 1
    needed = found.discs[owner, slot][:, None]
    share = (torch.arange(found.most_discs + 1, device=path.device) / needed).clamp(max=1)
    first = (share * steps).long().clamp(max=steps - 1)
    rows = torch.arange(len(path), device=path.device)[:, None]
    points = torch.lerp(
        path[rows, first], path[rows, first + 1], (share * steps - first)[..., None]
    )
    ends = (2 * share - 1).square()
    radii = draw.radius[owner, slot][:, None] * (1 - draw.taper[owner, slot][:, None] * ends)
    _lay_discs(level, owner, points, radii, draw.edge[owner], reach=found.reach[STROKE])


def _dot_levels(draw: MaskDraw, found: _Components, level: Tensor) -> None:
    owner, slot = found.of[DOTS]
    if len(owner):
        dots, radii = draw.dots[owner, slot], draw.dot_radius[owner, slot]
        _lay_discs(level, owner, dots, radii, draw.edge[owner], reach=found.reach[DOTS])


def _lay_discs(
    level: Tensor, owner: Tensor, points: Tensor, radii: Tensor, edge: Tensor, *, reach: int
) -> None:
    """Raise `level` `[B, H, W]` in place to discs `[S, P]` of the samples `owner` `[S]`, none of
    which reaches further than so many pixels."""
    height, width = level.shape[1:]
    side = min(height, width)
    window = torch.arange(-reach, reach + 1, device=level.device)
    centre = points * side - 0.5
    nearest = centre.round()
    cells = nearest.long()[..., None, :] + window[:, None]
    squared = (window[:, None] + (nearest - centre)[..., None, :]).square()
    x, y = (cells[..., axis].clamp(0, limit - 1) for axis, limit in enumerate((width, height)))
    inside = torch.stack([x, y], dim=-1) == cells
    squared = squared.masked_fill(~inside, 1e8)
    rows = (owner[:, None, None] * height + y) * width
    index = rows[..., :, None] + x[..., None, :]
    distance = (squared[..., 1, None] + squared[..., None, :, 0]).sqrt_()
    slope = (-1.0 / (edge * side))[:, None, None, None]
    heights = torch.addcmul((radii / edge[:, None] + 0.5)[..., None, None], distance, slope)
    level.view(-1).scatter_reduce_(0, index.view(-1), heights.view(-1), "amax")


def _centres(count: int, device: torch.device) -> Tensor:
    """Centres of `count` cells over [-1, 1]."""
    return (2 * torch.arange(count, device=device) + 1) / count - 1


def _enlarge(device: torch.device) -> Tensor:
    """`[stamp, nodes]` matrix of cubic interpolation from displacement nodes to a stamp."""
    eye = torch.eye(_NODES, device=device)[None, None]
    wide = F.interpolate(eye, size=(_STAMP, _NODES), mode="bicubic", align_corners=True)
    return wide[0, 0]
