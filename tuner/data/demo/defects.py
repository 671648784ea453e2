"""Six kinds of defects on a demo surface, each with its exact mask.

A defect takes a surface (float32 `[256, 256, 3]` reflectance), how to draw what lies under it, the
angle of the light, and a strength from 0 (hard to see) to 1 (obvious). It returns the damaged
surface and a bool `[256, 256]` mask of the pixels that it changed visibly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from tuner.data.demo.fields import NATIVE, colour, coordinates, grains, mixed, step, waves

Damaged = tuple[np.ndarray, np.ndarray]
Under = Callable[[Generator], np.ndarray]
Defect = Callable[[Generator, np.ndarray, Under, float, float], Damaged]

_FINE = 2
_INKS = (
    (0.09, 0.10, 0.12),
    (0.10, 0.16, 0.42),
    (0.55, 0.10, 0.10),
    (0.30, 0.30, 0.31),
    (0.90, 0.89, 0.85),
)


def crack(
    rng: Generator, surface: np.ndarray, under: Under, light: float, strength: float
) -> Damaged:
    """A thin, dark, branching line with a lit lip."""
    canvas = Image.new("L", (NATIVE * _FINE, NATIVE * _FINE))
    pen = ImageDraw.Draw(canvas)
    start = rng.uniform(50, NATIVE - 50, 2)
    heading = float(rng.uniform(0, 2 * np.pi))
    width = float(rng.uniform(7, 9.5))
    for away in (0.0, np.pi):
        _branch(rng, pen, start, heading + away, width, float(rng.uniform(45, 80)), 1)
    line = _softened(canvas)
    lip = np.clip(_shifted(line, light, 2.5) - line, 0, 1)
    depth = 0.28 + 0.55 * strength
    damaged = surface * (1 - depth * line + 0.25 * strength * lip)[..., None]
    return damaged, line > 0.35


def stroke(
    rng: Generator, surface: np.ndarray, under: Under, light: float, strength: float
) -> Damaged:
    """A curved line of pen, pencil or chalk."""
    points = _curve(rng, float(rng.uniform(70, 130)))
    canvas = Image.new("L", (NATIVE * _FINE, NATIVE * _FINE))
    pen = ImageDraw.Draw(canvas)
    _line(pen, points, np.full(len(points), rng.uniform(6.5, 9.5)))
    line = _softened(canvas)
    ink = _contrasting(rng, surface, line)
    cover = (0.3 + 0.6 * strength) * np.clip(1 + 0.15 * grains(rng, 1.5), 0, 1.1)
    return mixed(surface, ink, np.clip(line * cover, 0, 1)), line > 0.35


def stain(
    rng: Generator, surface: np.ndarray, under: Under, light: float, strength: float
) -> Damaged:
    """A soft blot, darker or brighter than the surface."""
    blot = step(_blob(rng, float(rng.uniform(20, 36)), ragged=0.22), 0.0, 0.5)
    tint = colour(*rng.uniform(-0.06, 0.06, 3))
    change = 0.16 + 0.36 * strength
    if rng.random() < 0.5:
        factor = 1 - (change + tint) * blot[..., None]
        return surface * factor, blot > 0.3
    bright = colour(0.92, 0.90, 0.86) + tint
    return mixed(surface, bright, blot * np.float32(0.75 * change)), blot > 0.3


def dent(
    rng: Generator, surface: np.ndarray, under: Under, light: float, strength: float
) -> Damaged:
    """A hollow: the pattern is drawn towards its middle, one flank is lit, the other dark."""
    from scipy.ndimage import map_coordinates

    row, column = coordinates()
    middle = rng.uniform(-80, 80, 2)
    radius, flat, turn = rng.uniform(24, 38), rng.uniform(0.75, 1.0), rng.uniform(0, np.pi)
    down, right = row - middle[0], column - middle[1]
    along = np.cos(turn) * right + np.sin(turn) * down
    aside = (-np.sin(turn) * right + np.cos(turn) * down) / flat
    distance = np.sqrt(along**2 + aside**2) / radius
    hollow = np.clip(1 - distance**2, 0, None) ** 2
    pull = (0.25 + 0.35 * strength) * hollow
    middle_row, middle_column = row + (NATIVE - 1) / 2, column + (NATIVE - 1) / 2
    where = np.stack([middle_row + pull * down, middle_column + pull * right])
    warped = np.stack(
        [map_coordinates(surface[..., c], where, order=1, mode="reflect") for c in range(3)], -1
    )
    slope_down, slope_right = np.gradient(hollow * radius)
    slope = np.cos(light) * slope_right + np.sin(light) * slope_down
    shaded = warped * np.clip(1 + (0.12 + 0.28 * strength) * slope, 0.3, 1.6)[..., None]
    inside = distance < 1
    return np.where(inside[..., None], shaded, surface).astype(np.float32), distance < 0.9


def rough(
    rng: Generator, surface: np.ndarray, under: Under, light: float, strength: float
) -> Damaged:
    """A patch whose texture is scuffed: smeared, with a grain of its own."""
    from scipy.ndimage import gaussian_filter

    patch = step(_blob(rng, float(rng.uniform(22, 36)), ragged=0.15), 0.0, 0.2)
    flat = gaussian_filter(surface, (5.0, 5.0, 0.0), truncate=2.0)
    grain = grains(rng, float(rng.uniform(2.0, 3.5)))
    scuffed = flat * (1 + (0.10 + 0.22 * strength) * grain)[..., None]
    return mixed(surface, scuffed, patch * np.float32(0.55 + 0.45 * strength)), patch > 0.5


def missing(
    rng: Generator, surface: np.ndarray, under: Under, light: float, strength: float
) -> Damaged:
    """A piece that has broken off: what lies under shows, with a shadow at the lit edge."""
    hole = _shard(rng, float(rng.uniform(20, 36)))
    mean = surface.mean((0, 1), keepdims=True)
    bottom = mean + (under(rng) - mean) * np.float32(0.45 + 0.55 * strength)
    edge = hole - np.minimum(hole, _shifted(hole, light, 4.0))
    lip = np.clip(_shifted(hole, light, -2.0) - hole, 0, 1)
    broken = mixed(surface * (1 + 0.2 * strength * lip)[..., None], bottom, hole)
    return broken * (1 - (0.25 + 0.35 * strength) * edge)[..., None], hole > 0.5


KINDS: dict[str, Defect] = {
    "crack": crack,
    "stroke": stroke,
    "stain": stain,
    "dent": dent,
    "rough_patch": rough,
    "missing_piece": missing,
}


def _branch(  # noqa: PLR0917
    rng: Generator,
    pen: ImageDraw.ImageDraw,
    start: np.ndarray,
    heading: float,
    width: float,
    length: float,
    forks: int,
) -> None:
    steps = max(3, int(length / 6))
    turns = np.cumsum(rng.normal(0, 0.32, steps))
    way = np.stack([np.sin(heading + turns), np.cos(heading + turns)], 1) * 6
    points = np.concatenate([start[None], start + np.cumsum(way, 0)])
    _line(pen, points, np.linspace(width, 0.55 * width, len(points)))
    for _ in range(forks):
        at = int(rng.integers(steps // 3, steps))
        aside = float(rng.choice((-1, 1)) * rng.uniform(0.5, 1.0))
        _branch(
            rng, pen, points[at], heading + turns[at - 1] + aside, 0.75 * width, 0.6 * length, 0
        )


def _line(pen: ImageDraw.ImageDraw, points: np.ndarray, widths: np.ndarray) -> None:
    """Points are (row, column)."""
    for (r0, c0), (r1, c1), width in zip(points[:-1], points[1:], widths, strict=False):
        pen.line([(c0 * _FINE, r0 * _FINE), (c1 * _FINE, r1 * _FINE)], 255, round(width * _FINE))
        reach = width * _FINE / 2
        pen.ellipse(
            [c1 * _FINE - reach, r1 * _FINE - reach, c1 * _FINE + reach, r1 * _FINE + reach], 255
        )


def _curve(rng: Generator, length: float) -> np.ndarray:
    """A smooth line of about that length whose bend changes slowly."""
    steps = int(length / 3)
    bend = np.linspace(rng.normal(0, 0.06), rng.normal(0, 0.06), steps)
    turns = rng.uniform(0, 2 * np.pi) + np.cumsum(bend)
    points = np.cumsum(np.stack([np.sin(turns), np.cos(turns)], 1) * 3, 0)
    middle = rng.uniform(0.35 * NATIVE, 0.65 * NATIVE, 2)
    return np.asarray(points - points.mean(0) + middle)


def _softened(canvas: Image.Image) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    small = canvas.resize((NATIVE, NATIVE), Image.Resampling.BOX)
    return gaussian_filter(np.asarray(small, np.float32) / 255, 0.8, truncate=2.5)


def _blob(rng: Generator, radius: float, ragged: float) -> np.ndarray:
    """A field that is above 0 inside an irregular outline: 1 in the middle, falling outwards."""
    row, column = coordinates()
    middle = rng.uniform(-82, 82, 2)
    down, right = row - middle[0], column - middle[1]
    angle = np.arctan2(down, right)
    outline = np.full_like(angle, radius)
    for order in range(2, 6):
        size = ragged * rng.normal() / order
        outline = outline * (1 + size * np.cos(order * angle + rng.uniform(0, 2 * np.pi)))
    outline = outline * (1 + 0.06 * waves(rng, 24))
    distance = np.sqrt(down**2 + right**2)
    return (1 - distance / np.maximum(outline, 4)).astype(np.float32)


def _shard(rng: Generator, radius: float) -> np.ndarray:
    """1 inside an irregular polygon with splintered edges, 0 outside."""
    corners = int(rng.integers(5, 9))
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, 0.6, corners)
    reach = radius * rng.uniform(0.6, 1.1, corners)
    outline = np.stack([np.sin(angles), np.cos(angles)], 1) * reach[:, None]
    parts = np.linspace(0, 1, 5)[:-1, None]
    sides = [a + (b - a) * parts for a, b in zip(outline, np.roll(outline, -1, 0), strict=True)]
    points = np.concatenate(sides) + rng.normal(0, 0.04 * radius, (4 * corners, 2))
    points += rng.uniform(0.18, 0.82, 2) * NATIVE
    canvas = Image.new("L", (NATIVE * _FINE, NATIVE * _FINE))
    ImageDraw.Draw(canvas).polygon([(c * _FINE, r * _FINE) for r, c in points], 255)
    return _softened(canvas)


def _shifted(field: np.ndarray, angle: float, length: float) -> np.ndarray:
    """The field moved by whole pixels along the angle."""
    down, right = round(np.sin(angle) * length), round(np.cos(angle) * length)
    return np.roll(field, (down, right), (0, 1))


def _contrasting(rng: Generator, surface: np.ndarray, line: np.ndarray) -> np.ndarray:
    """An ink that differs from the surface under the line."""
    there = (surface * line[..., None]).sum((0, 1)) / max(float(line.sum()), 1.0)
    inks = [colour(*ink) for ink in _INKS]
    visible = [ink for ink in inks if np.abs(ink - there).mean() > 0.2]
    return visible[int(rng.integers(len(visible)))] if visible else inks[0]
