"""The scoring tier: discrepancy, smoothing, pooling, for one setting or a whole grid at once.

Nothing here trains: a grid of settings is judged from one reconstruction.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from methods.contract import Scoring
from methods.hyperparameter import Hyperparameter, Value, complete
from methods.scoring.discrepancy import DISCREPANCIES, gradient_errors
from methods.scoring.pooling import POOLINGS, pool, pool_all
from methods.scoring.smoothing import kernel_pixels, mean_filter, smooth

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

# Images are scored in parts small enough that the maps of one part stay in the processor's cache.
_PART_PIXELS = 1 << 16

# Discrepancy, smoothing passes, filter side in pixels; and the pooling.
Smoothing = tuple[str, int, int]
Plan = tuple[str, int, int, str]

_MOST_PLANS = 4096
_PLANS: dict[tuple[str, int], Plan] = {}


def maps(images: Tensor, reconstruction: Tensor, scoring: Scoring) -> Tensor:
    """Smoothed discrepancy of `[B, 3, H, W]` pairs in [0, 1]: `[B, H, W]`, never negative.

    Values outside [0, 1] are clipped, settings left out take their defaults. Raises ValueError for
    shapes that do not match or a setting out of bounds.
    """
    images, reconstruction = _checked(images, reconstruction)
    name, passes, size, _ = _plan(scoring, images.shape[-2:])
    with torch.no_grad():
        return smooth(DISCREPANCIES[name](images, reconstruction), passes, size)


def scores(images: Tensor, reconstruction: Tensor, scoring: Scoring) -> Tensor:
    """One number per image under one setting: `[B]`, higher is more anomalous; see `maps`."""
    return judged(images, reconstruction, scoring)[0]


def judged(images: Tensor, reconstruction: Tensor, scoring: Scoring) -> tuple[Tensor, Tensor]:
    """`scores` and `maps` of the same images at once."""
    pooling = str(complete(SCORING, scoring)["pooling"])
    found = maps(images, reconstruction, scoring)
    return pool(found, pooling), found


def grid_scores(images: Tensor, reconstruction: Tensor, grid: Sequence[Scoring]) -> Tensor:
    """`scores` under every setting of a grid: `[S, B]`; see `maps`.

    Each discrepancy is computed once, each smoothing pass once (the first pass of a filter feeds
    its second), and all poolings of a map share their partial results.
    """
    images, reconstruction = _checked(images, reconstruction)
    count, height, width = images.shape[0], images.shape[-2], images.shape[-1]
    plans = [_plan(scoring, (height, width)) for scoring in grid]
    result = images.new_empty((len(plans), count))
    part = max(1, _PART_PIXELS // (height * width))
    with torch.no_grad():
        for start in range(0, count, part):
            span = slice(start, start + part)
            _fill(result[:, span], images[span], reconstruction[span], plans)
    return result


def expand_grid(values: Mapping[str, Sequence[Value]]) -> list[dict[str, Value]]:
    """The Cartesian product of lists of scoring values, each setting complete and valid.

    A hyperparameter that is not named keeps its default. Of settings that mean the same, which are
    those without smoothing passes that differ in the filter's size only, the first stays. Raises
    ValueError for an unknown name, an empty list or a value out of bounds.
    """
    for name, options in values.items():
        if len(options) == 0:
            raise ValueError(f"{name} has no value; name at least one or leave it out")
    settings: dict[tuple[Value | None, ...], dict[str, Value]] = {}
    for chosen in itertools.product(*values.values()):
        setting = complete(SCORING, dict(zip(values, chosen, strict=True)))
        size = setting["smoothing_size"] if setting["smoothing_passes"] else None
        key = (setting["discrepancy"], setting["smoothing_passes"], size, setting["pooling"])
        settings.setdefault(key, setting)
    return list(settings.values())


def _checked(images: Tensor, reconstruction: Tensor) -> tuple[Tensor, Tensor]:
    if images.ndim != 4 or images.shape[1] != 3 or images.shape != reconstruction.shape:
        raise ValueError(
            f"images are {list(images.shape)} and the reconstruction {list(reconstruction.shape)}, "
            "but both must be [B, 3, H, W]"
        )
    kind = torch.promote_types(images.dtype, torch.float32)
    # A network's output in channels-last order would slow every window below.
    return tuple(x.detach().to(kind).clamp(0, 1).contiguous() for x in (images, reconstruction))  # type: ignore[return-value]


def _plan(scoring: Scoring, shape: Sequence[int]) -> Plan:
    """The setting completed, checked and in one normal form."""
    # A detector scores a few images at a time and asks for the same settings again and again.
    key = (repr(sorted(scoring.items())), min(shape))
    if key not in _PLANS:
        full = complete(SCORING, scoring)
        passes = int(full["smoothing_passes"])
        size = kernel_pixels(float(full["smoothing_size"]), shape[0], shape[1])
        if passes == 0 or size == 1:
            passes, size = 0, 1
        if len(_PLANS) >= _MOST_PLANS:
            _PLANS.clear()
        _PLANS[key] = (str(full["discrepancy"]), passes, size, str(full["pooling"]))
    return _PLANS[key]


def _raw(names: Iterable[str], images: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
    wanted = set(names)
    raw: dict[str, Tensor] = {}
    if {"gms", "msgms"} <= wanted:
        raw["gms"], raw["msgms"] = gradient_errors(images, reconstruction)
    for name in sorted(wanted - set(raw)):
        raw[name] = DISCREPANCIES[name](images, reconstruction)
    return raw


def _smoothed(raw: dict[str, Tensor], wanted: Iterable[Smoothing]) -> dict[Smoothing, Tensor]:
    passes: dict[int, dict[str, int]] = {}
    for name, count, size in wanted:
        if count == 0:
            continue
        most = passes.setdefault(size, {})
        most[name] = max(count, most.get(name, 0))
    done: dict[Smoothing, Tensor] = {(name, 0, 1): maps for name, maps in raw.items()}
    for size, most in passes.items():
        # All discrepancies that go through the same filter go through it together.
        names = sorted(most, key=lambda name: -most[name])
        stack = torch.cat([raw[name] for name in names])
        for count in range(1, max(most.values()) + 1):
            names = [name for name in names if most[name] >= count]
            stack = mean_filter(stack[: len(names) * len(raw[names[0]])], size)
            parts = stack.view(len(names), -1, *stack.shape[1:])
            done.update(
                {(name, count, size): part for name, part in zip(names, parts, strict=True)}
            )
    return done


def _fill(
    result: Tensor,
    images: Tensor,
    reconstruction: Tensor,
    plans: Sequence[Plan],
) -> None:
    """Write the scores `[S, b]` of one part of the images."""
    poolings: dict[Smoothing, set[str]] = {}
    for name, passes, size, pooling in plans:
        poolings.setdefault((name, passes, size), set()).add(pooling)
    raw = _raw((name for name, _, _ in poolings), images, reconstruction)
    smoothed = _smoothed(raw, poolings)
    # Maps that are pooled alike are pooled in one go, which is what makes small parts affordable.
    alike: dict[frozenset[str], list[Smoothing]] = {}
    for key, names in poolings.items():
        alike.setdefault(frozenset(names), []).append(key)
    pooled: dict[tuple[Smoothing, str], Tensor] = {}
    for together, keys in alike.items():
        stack = torch.cat([smoothed[key] for key in keys])
        for pooling, values in pool_all(stack, together).items():
            parts = values.view(len(keys), -1)
            pooled.update({(key, pooling): part for key, part in zip(keys, parts, strict=True)})
    for row, (name, passes, size, pooling) in enumerate(plans):
        result[row] = pooled[(name, passes, size), pooling]
