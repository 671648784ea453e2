"""Scores of reconstructions: a discrepancy of each pixel, then the scoring tier of its map.

Nothing here trains: a grid of settings is judged from one reconstruction. `statistics` are those of
held-out normals by discrepancy (`measured`); settings without a map normalisation need none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from methods.contract import Scoring
from methods.hyperparameter import Hyperparameter, complete
from methods.scoring import tier
from methods.scoring.discrepancy import DISCREPANCIES, gradient_errors
from methods.scoring.normalisation import NORMALISATION, MapStatistics
from methods.scoring.pooling import POOLINGS

SCORING: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        name="discrepancy",
        default="ssim",
        help="how a pixel of the reconstruction is compared with the image",
        choices=tuple(sorted(DISCREPANCIES)),
        symbol="Δ",
        source="Bauer et al., PAE, section on inference: evaluated with SSIM",
        tier="scoring",
    ),
    Hyperparameter(
        name="smoothing_passes",
        default=2,
        help="how often the map is smoothed by a mean filter; 0 leaves it raw",
        low=0,
        high=4,
        symbol="n",
        source="form from Bauer et al., PAE; the value is ours",
        tier="scoring",
    ),
    Hyperparameter(
        name="smoothing_size",
        default=11 / 256,
        help="side of the mean filter; the nearest odd number of pixels is used",
        low=1 / 256,
        high=0.25,
        log=True,
        unit="fraction of the shorter side",
        symbol="k",
        source="form from Bauer et al., PAE; the value is ours",
        tier="scoring",
    ),
    Hyperparameter(
        name="pooling",
        default="sum",
        help="how a map becomes one number",
        choices=POOLINGS,
        source="Bauer et al., PAE: sum over the map",
        tier="scoring",
    ),
)

# Images are scored in parts small enough that the maps of one part stay in a processor's cache;
# other devices take as many as are handed over.
_PART_PIXELS = 1 << 16

# Everything that a method with maps may declare.
TIER = (*SCORING, *NORMALISATION)

_MOST_PLANS = 4096
_PLANS: dict[tuple[str, tuple[int, int]], tier.MapPlan] = {}
_NONE: Mapping[str, MapStatistics] = {}


def maps(
    images: Tensor,
    reconstruction: Tensor,
    scoring: Scoring,
    statistics: Mapping[str, MapStatistics] = _NONE,
) -> Tensor:
    """Discrepancy maps of `[B, 3, H, W]` pairs in [0, 1] under one setting: `[B, H, W]`.

    Values outside [0, 1] are clipped, settings left out take their defaults. Raises ValueError for
    shapes that do not match or a setting out of bounds.
    """
    return judged(images, reconstruction, scoring, statistics)[1]


def scores(
    images: Tensor,
    reconstruction: Tensor,
    scoring: Scoring,
    statistics: Mapping[str, MapStatistics] = _NONE,
) -> Tensor:
    """One number per image under one setting: `[B]`, higher is more anomalous; see `maps`."""
    return judged(images, reconstruction, scoring, statistics)[0]


def judged(
    images: Tensor,
    reconstruction: Tensor,
    scoring: Scoring,
    statistics: Mapping[str, MapStatistics] = _NONE,
) -> tuple[Tensor, Tensor]:
    """`scores` and `maps` of the same images at once."""
    images, reconstruction = _checked(images, reconstruction)
    plan = _plan(scoring, images.shape)
    with torch.no_grad():
        return tier.judged(DISCREPANCIES[plan.raw](images, reconstruction), plan, statistics)


def grid_scores(
    images: Tensor,
    reconstruction: Tensor,
    grid: Sequence[Scoring],
    statistics: Mapping[str, MapStatistics] = _NONE,
) -> Tensor:
    """`scores` under every setting of a grid: `[S, B]`; each discrepancy is computed once."""
    images, reconstruction = _checked(images, reconstruction)
    plans = [_plan(scoring, images.shape) for scoring in grid]
    names = {plan.raw for plan in plans}
    with torch.no_grad():
        return torch.cat(
            [
                tier.grid_scores(_raw(names, *part), plans, statistics)
                for part in _parts(images, reconstruction)
            ],
            1,
        )


def measured(
    images: Tensor, reconstruction: Tensor, names: Iterable[str] = tuple(DISCREPANCIES)
) -> dict[str, MapStatistics]:
    """Statistics of the discrepancies `names` of held-out normals, `[V, 3, H, W]` pairs."""
    images, reconstruction = _checked(images, reconstruction)
    with torch.no_grad():
        parts = [_raw(names, *part) for part in _parts(images, reconstruction)]
        return {
            name: MapStatistics.measured(torch.cat([part[name] for part in parts]))
            for name in parts[0]
        }


def _checked(images: Tensor, reconstruction: Tensor) -> tuple[Tensor, Tensor]:
    if images.ndim != 4 or images.shape[1] != 3 or images.shape != reconstruction.shape:
        raise ValueError(
            f"images are {list(images.shape)} and the reconstruction {list(reconstruction.shape)}, "
            "but both must be [B, 3, H, W]"
        )
    kind = torch.promote_types(images.dtype, torch.float32)
    # A network's output in channels-last order would slow every window below.
    return tuple(x.detach().to(kind).clamp(0, 1).contiguous() for x in (images, reconstruction))  # type: ignore[return-value]


def _parts(images: Tensor, reconstruction: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    part = len(images)
    if images.device.type == "cpu":
        part = max(1, _PART_PIXELS // (images.shape[-2] * images.shape[-1]))
    return zip(images.split(max(1, part)), reconstruction.split(max(1, part)), strict=True)


def _plan(scoring: Scoring, shape: Sequence[int]) -> tier.MapPlan:
    """The setting completed, checked and in one normal form."""
    # A detector scores a few images at a time and asks for the same settings again and again.
    size = (int(shape[-2]), int(shape[-1]))
    key = (repr(sorted(scoring.items())), size)
    if key not in _PLANS:
        full = complete(TIER, scoring)
        if len(_PLANS) >= _MOST_PLANS:
            _PLANS.clear()
        _PLANS[key] = tier.plan_of(full, str(full["discrepancy"]), size)
    return _PLANS[key]


def _raw(names: Iterable[str], images: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
    wanted = set(names)
    raw: dict[str, Tensor] = {}
    if {"gms", "msgms"} <= wanted:
        raw["gms"], raw["msgms"] = gradient_errors(images, reconstruction)
    for name in sorted(wanted - set(raw)):
        raw[name] = DISCREPANCIES[name](images, reconstruction)
    return raw
