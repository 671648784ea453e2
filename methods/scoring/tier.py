"""From raw discrepancy maps to scores: normalisation, smoothing, border, pooling.

Whatever makes maps is scored here: on pixels or on the coarse grid of a feature extractor, one
setting or a whole grid of settings at once. Nothing here trains.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.contract import Scoring
from methods.hyperparameter import Hyperparameter, Value, complete
from methods.scoring.normalisation import MapStatistics, border_pixels, inner, with_border
from methods.scoring.pooling import pool, pool_all
from methods.scoring.smoothing import kernel_pixels, mean_filter, smooth


@dataclass(frozen=True)
class MapPlan:
    """One scoring setting in pixels of the map.

    `raw` names the raw map, `normalisation` is one of `methods.scoring.normalisation.KINDS`,
    `passes` of a mean filter of `side` pixels follow, and `border` (rows, columns) is left out of
    the pooling.
    """

    raw: str
    normalisation: str
    passes: int
    side: int
    border: tuple[int, int]
    pooling: str

    @property
    def filtered(self) -> _Filtered:
        return self.raw, self.normalisation, self.passes, self.side

    @property
    def pooled(self) -> tuple[_Filtered, tuple[int, int], str]:
        return self.filtered, self.border, self.pooling


# Raw map, normalisation, smoothing passes, side of the filter.
_Filtered = tuple[str, str, int, int]
_Normalised = tuple[str, str]


def plan_of(setting: Scoring, raw: str, shape: tuple[int, int]) -> MapPlan:
    """A complete setting on raw maps named `raw` of (height, width)."""
    passes = int(setting["smoothing_passes"])
    side = kernel_pixels(float(setting["smoothing_size"]), *shape)
    if passes == 0 or side == 1:
        passes, side = 0, 1
    kind = str(setting.get("map_normalisation", "none"))
    border = border_pixels(float(setting.get("border", 0.0)), *shape)
    return MapPlan(raw, kind, passes, side, border, _pooling(setting))


def _pooling(setting: Scoring) -> str:
    """A z map is in units of its spread already, and its median is about 0: a ratio to it would
    mean nothing."""
    pooling = str(setting.get("pooling"))
    if pooling == "topk_ratio" and setting.get("map_normalisation") == "z":
        return "topk_relative"
    return pooling


def expand(
    declared: Sequence[Hyperparameter],
    values: Mapping[str, Sequence[Value]],
    normal_form: Callable[[Scoring], dict[str, Value]] = dict,
) -> list[dict[str, Value]]:
    """The Cartesian product of lists of scoring values, each setting complete and valid.

    A hyperparameter that is not named keeps its default. Of settings that mean the same at every
    size, the first stays: without smoothing passes, the filter's size says nothing. `normal_form`
    is what a method itself knows to mean the same. Raises ValueError for an unknown name, an empty
    list or a value out of bounds.
    """
    for name, options in values.items():
        if len(options) == 0:
            raise ValueError(f"{name} has no value; name at least one or leave it out")
    settings: dict[Hashable, dict[str, Value]] = {}
    for chosen in itertools.product(*values.values()):
        setting = normal_form(complete(declared, dict(zip(values, chosen, strict=True)), "scoring"))
        meaning = {**setting, "pooling": _pooling(setting)}
        if setting.get("smoothing_passes") == 0:
            meaning["smoothing_size"] = 0
        settings.setdefault(tuple(meaning.items()), setting)
    return list(settings.values())


def judged(
    raw: Tensor, plan: MapPlan, statistics: Mapping[str, MapStatistics]
) -> tuple[Tensor, Tensor]:
    """Scores `[B]` and maps `[B, H, W]` of raw maps `[B, H, W]` under one setting.

    The border of a map, which is not scored, repeats the nearest pixel that is.
    """
    maps = smooth(
        _normalised(raw, plan.raw, plan.normalisation, statistics), plan.passes, plan.side
    )
    scored = inner(maps, plan.border)
    return pool(scored, plan.pooling), with_border(maps, plan.border)


def grid_scores(
    raw: Mapping[str, Tensor],
    plans: Sequence[MapPlan],
    statistics: Mapping[str, MapStatistics],
) -> Tensor:
    """Scores `[S, B]` of raw maps `[B, H, W]`, given by name, under every setting.

    Each normalisation and each smoothing pass is computed once (the first pass of a filter feeds
    its second), and all poolings of a map share their partial results.
    """
    smoothed = _smoothed(raw, {plan.filtered for plan in plans}, statistics)
    wanted: dict[tuple[_Filtered, tuple[int, int]], set[str]] = {}
    for plan in plans:
        wanted.setdefault((plan.filtered, plan.border), set()).add(plan.pooling)
    # Maps that are cut and pooled alike are pooled in one go.
    alike: dict[tuple[tuple[int, int], frozenset[str]], list[_Filtered]] = {}
    for (filtered, border), names in wanted.items():
        alike.setdefault((border, frozenset(names)), []).append(filtered)
    pooled: dict[tuple[_Filtered, tuple[int, int], str], Tensor] = {}
    for (border, together), keys in alike.items():
        stack = torch.cat([smoothed[key] for key in keys])
        cut = inner(stack, border)
        for pooling, values in pool_all(
            cut if border == (0, 0) else cut.contiguous(), together
        ).items():
            parts = values.view(len(keys), -1)
            pooled.update(
                {(key, border, pooling): part for key, part in zip(keys, parts, strict=True)}
            )
    return torch.stack([pooled[plan.pooled] for plan in plans])


def _normalised(
    raw: Tensor, name: str, kind: str, statistics: Mapping[str, MapStatistics]
) -> Tensor:
    if kind == "none":
        return raw
    if name not in statistics:
        raise ValueError(
            f"map_normalisation is {kind!r}, but this detector has no statistics of held-out "
            f"normals for {name!r} maps: it was trained by an earlier version, or nothing was "
            "scored so while it trained; train it again, or take map_normalisation none"
        )
    return statistics[name](raw, kind)


def _smoothed(
    raw: Mapping[str, Tensor],
    wanted: Iterable[_Filtered],
    statistics: Mapping[str, MapStatistics],
) -> dict[_Filtered, Tensor]:
    wanted = set(wanted)
    starts: dict[_Normalised, Tensor] = {
        (name, kind): _normalised(raw[name], name, kind, statistics)
        for name, kind in {(name, kind) for name, kind, _, _ in wanted}
    }
    done: dict[_Filtered, Tensor] = {(*key, 0, 1): maps for key, maps in starts.items()}
    most: dict[int, dict[_Normalised, int]] = {}
    for name, kind, passes, side in wanted:
        if passes:
            own = most.setdefault(side, {})
            own[name, kind] = max(passes, own.get((name, kind), 0))
    for side, passes_of in most.items():
        # All maps that go through the same filter go through it together.
        keys = sorted(passes_of, key=lambda key: (-passes_of[key], key))
        stack = torch.cat([starts[key] for key in keys])
        count = len(starts[keys[0]])
        for step in range(1, max(passes_of.values()) + 1):
            keys = [key for key in keys if passes_of[key] >= step]
            stack = mean_filter(stack[: len(keys) * count], side)
            parts = stack.view(len(keys), count, *stack.shape[1:])
            done.update({(*key, step, side): part for key, part in zip(keys, parts, strict=True)})
    return done
