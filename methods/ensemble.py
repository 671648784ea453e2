"""Several detectors as one: the mean of what each says of an image, in units that all share.

Scores of different detectors have different units, so their ranks are averaged. A rank needs a
batch; to judge a single image, each member keeps the distribution of its scores on reference images
and says where in it a score lies (`ScoreScale`). Heat maps are moved to a common median and tail
(`MapScale`) and averaged: ranks of pixels would make most of an image loud, and a defect is small.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from methods.contract import Detector, Scoring, everything, unit
from methods.onepass import Judged, OnePass, one_pass_of
from methods.scoring.normalisation import left_out
from methods.state import below, under

ENSEMBLE = "ensemble"
FEWEST_MEMBERS = 2
MOST_MEMBERS = 32

_BATCH = 32
_KNOTS = 1024
# Of a score: nearer knots would turn its rounding, which differs between machines, into a rank.
_NEAREST = 1e-4
_PIXELS = 2**20
_LOUD = 0.99


@dataclass(frozen=True)
class ScoreScale:
    """From scores to shares of reference images, continuous and strictly increasing.

    With knots u_1 < ... < u_n, the reference scores, and p_i the share of the reference below u_i
    (ties half): linear from (u_i, p_i) to the next; above u_n

        p_n + (1 - p_n) log(1 + (s - u_n) / w),    w = u_n - median,

    and mirrored below u_1. So scores beyond all that was seen keep their order, and no single
    member can outshout the others. On the reference itself, it is the rank. `knots` and `shares`
    `[n]`, `tails` `[2]` the widths w below and above; float32.
    """

    knots: Tensor
    shares: Tensor
    tails: Tensor

    @classmethod
    def of(cls, reference: Tensor) -> ScoreScale:
        """Scale of reference scores `[R]`. Raises ValueError where there are none, or not finite
        ones."""
        values = reference.detach().to("cpu", torch.float32).flatten()
        if not len(values) or not bool(values.isfinite().all()):
            broken = int((~values.isfinite()).sum())
            raise ValueError(
                f"{broken} of {len(values)} reference scores are not finite numbers, and at least "
                "one reference score is needed; join other detectors, or package a single one"
            )
        knots, counts = values.unique(return_counts=True)
        counted = counts.double()
        shares = (counted.cumsum(0) - counted / 2) / len(values)
        group = _grouped(knots.tolist())
        knots = knots[[group.index(g) for g in range(group[-1] + 1)]]
        labels = torch.tensor(group)
        shares = (labels.bincount(shares) / labels.bincount()).float()
        middle = values.median()
        tails = torch.stack((middle - knots[0], knots[-1] - middle))
        # Where a side has no spread, any width keeps the order.
        tails = torch.where(tails > 0, tails, knots.abs().max().clamp(min=1e-6))
        return cls(knots, shares, tails)

    def __call__(self, scores: Tensor) -> Tensor:
        """Shares `[B]` of scores `[B]`; outside [0, 1] beyond the reference."""
        s = scores.float()
        steps = (s[:, None] - self.knots[:-1]) / self.knots.diff()
        inside = self.shares[0] + (steps.clamp(0, 1) * self.shares.diff()).sum(1)
        under_all = ((self.knots[0] - s).clamp(min=0) / self.tails[0]).log1p()
        over_all = ((s - self.knots[-1]).clamp(min=0) / self.tails[1]).log1p()
        return inside - self.shares[0] * under_all + (1 - self.shares[-1]) * over_all


@dataclass(frozen=True)
class MapScale:
    """Median and 99 % quantile of the pixels of reference maps, `levels` float32 `[2]`."""

    levels: Tensor

    @classmethod
    def of(cls, pixels: Tensor) -> MapScale:
        """Scale of pixels of reference maps, any number. Raises ValueError for ones not finite."""
        values = pixels.detach().to("cpu", torch.float32).flatten()
        if not len(values) or not bool(values.isfinite().all()):
            raise ValueError("the reference maps have pixels that are not finite numbers")
        low, high = values.quantile(torch.tensor([0.5, _LOUD]))
        high = high if high > low else values.max()
        return cls(torch.stack((low, high if high > low else low + 1)))

    def moved_to(self, other: MapScale, maps: Tensor) -> Tensor:
        """Maps so that the two levels of this scale become those of the other."""
        height, wanted = self.levels.diff(), other.levels.diff()
        return other.levels[0] + (maps.float() - self.levels[0]) * (wanted / height)


@dataclass
class Member:
    """A detector under one scoring, and its scales; `maps` is None where it has no maps."""

    detector: Detector
    scoring: Scoring
    score_scale: ScoreScale
    map_scale: MapScale | None = None

    @classmethod
    def of(
        cls, detector: Detector, scoring: Scoring, reference: Tensor, held_out: Tensor | None = None
    ) -> tuple[Member, Tensor]:
        """A member with the scales of reference images uint8 `[R, 3, H, W]`; and its scores of
        them, `[R]`. `held_out` `[V, 3, H, W]`, the normals that its maps are normalised by, are
        more of them, each scored as one that took no part in that. Raises ValueError as the scales
        do."""
        one_pass = one_pass_of(detector, scoring)
        height, width = reference.shape[2:]
        normals = reference[:0] if held_out is None else held_out
        share = min(height * width, max(1, _PIXELS // (len(reference) + len(normals))))
        seen = torch.randperm(height * width, generator=torch.Generator().manual_seed(0))[:share]
        scores, pixels = [], []
        for images, context in ((reference, contextlib.nullcontext()), (normals, left_out())):
            with torch.inference_mode(), context:
                for part in images.split(_BATCH) if len(images) else ():
                    score, *maps = one_pass(unit(part))
                    scores.append(score)
                    pixels += [each.flatten(1)[:, seen] for each in maps]
        found = torch.cat(scores)
        map_scale = MapScale.of(torch.cat(pixels)) if pixels else None
        return cls(detector, scoring, ScoreScale.of(found), map_scale), found

    def weights(self) -> dict[str, Tensor]:
        """All that restores it, a frozen network below its detector included."""
        scale = self.score_scale
        own = {"knots": scale.knots, "shares": scale.shares, "tails": scale.tails}
        if self.map_scale is not None:
            own["levels"] = self.map_scale.levels
        return {**under("scale", own), **under("detector", everything(self.detector))}

    @classmethod
    def restored(
        cls, detector: Detector, scoring: Scoring, weights: Mapping[str, Tensor]
    ) -> Member:
        """The member that `weights` came from, around its restored detector."""
        own = below("scale", weights)
        levels = own.pop("levels", None)
        maps = None if levels is None else MapScale(levels)
        return cls(detector, scoring, ScoreScale(**own), maps)


class Ensemble:
    """Detectors that judge together; a member's own scoring stands, whatever one is asked for."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = list(members)

    def embed(self, images: Tensor) -> Tensor:
        """The members' embeddings side by side: `[B, D1 + D2 + ...]`."""
        return torch.cat([m.detector.embed(images).flatten(1) for m in self.members], 1)

    def scores(self, images: Tensor, scoring: Scoring) -> Tensor:
        return self.one_pass(scoring)(images)[0]

    def grid_scores(self, images: Tensor, grid: Sequence[Scoring]) -> Tensor:
        return self.scores(images, {}).expand(len(grid), -1)

    def weights(self) -> dict[str, Tensor]:
        return {
            f"{place}.{name}": value
            for place, member in enumerate(self.members)
            for name, value in member.weights().items()
        }

    def one_pass(self, scoring: Scoring) -> OnePass:
        passes = [one_pass_of(m.detector, m.scoring) for m in self.members]
        members = self.members
        common = next((m.map_scale for m in members if m.map_scale is not None), None)

        def judged(images: Tensor, compared: Sequence[Any]) -> Judged:
            scores, maps = [], []
            for member, one, own in zip(members, passes, compared, strict=True):
                score, *heat = one.scoring(images, own)
                scores.append(member.score_scale(score))
                if heat and member.map_scale is not None and common is not None:
                    maps.append(member.map_scale.moved_to(common, heat[0]))
            joint = torch.stack(scores).mean(0)
            return (joint, torch.stack(maps).mean(0)) if maps else (joint,)

        return OnePass(
            nn.ModuleList(passes),
            lambda images: [one.network(images) for one in passes],
            judged,
            "; ".join(f"member {n}: {p.obstacle}" for n, p in enumerate(passes, 1) if p.obstacle),
        )


class LocalisingEnsemble(Ensemble):
    """An ensemble of which some members localise; its maps are the mean of theirs."""

    def maps(self, images: Tensor, scoring: Scoring) -> Tensor:
        """`[B, H, W]`, in the units of the first member that localises."""
        return self.one_pass(scoring)(images)[1]


def ensemble_of(members: Sequence[Member]) -> Ensemble:
    """Members as one detector. Raises ValueError for fewer than 2 or more than 32."""
    if not FEWEST_MEMBERS <= len(members) <= MOST_MEMBERS:
        raise ValueError(
            f"an ensemble of {len(members)} was asked for, but it has {FEWEST_MEMBERS} to "
            f"{MOST_MEMBERS} members; package a single detector as it is"
        )
    localises = any(member.map_scale is not None for member in members)
    return LocalisingEnsemble(members) if localises else Ensemble(members)


def restore_ensemble(
    detectors: Sequence[tuple[Detector, Scoring]], weights: Mapping[str, Tensor]
) -> Ensemble:
    """The ensemble that `weights` came from, around its restored detectors and their scorings."""
    return ensemble_of(
        [
            Member.restored(detector, scoring, below(str(place), weights))
            for place, (detector, scoring) in enumerate(detectors)
        ]
    )


def member_weights(place: int, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of one member's detector out of those of an ensemble."""
    return below("detector", below(str(place), weights))


def _grouped(values: list[float]) -> list[int]:
    """A group for each of ascending values, from 0 on: what is too near to the first of a group
    belongs to it, and there are not too many groups."""
    step = math.ceil(len(values) / _KNOTS)
    groups, first = [0], values[0]
    for place, value in enumerate(values[1:], 1):
        apart = value - first > _NEAREST * max(abs(first), abs(value))
        begins = apart and place % step == 0
        groups.append(groups[-1] + begins)
        first = value if begins else first
    return groups
