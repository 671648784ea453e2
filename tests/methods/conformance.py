"""What every method must do; see `docs/contributing.md`."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from methods.contract import (
    Context,
    MapDetector,
    Method,
    Progress,
    ReconstructingDetector,
    TrialData,
    everything,
    unit,
)
from methods.hyperparameter import Value, complete
from methods.onepass import OnePassDetector
from tests.methods.stripes import waves

# Whatever of these a method declares makes it small.
_SMALL: dict[str, Value] = {
    "steps": 8, "width": 4, "batch_size": 4, "code": 16, "initial_size": 0.05, "warm_share": 0.25,
    "iterations": 2, "backbone": "random", "bottleneck": 2, "depth": 1, "corrupted_versions": 1,
    "samples": 512,
}  # fmt: skip
RUNGS = 2


def small(method: Method) -> dict[str, Value]:
    """Hyperparameters that train in a second, the others at their defaults."""
    declared = {p.name for p in method.hyperparameters}
    return {name: value for name, value in _SMALL.items() if name in declared}


def images(size: tuple[int, int]) -> TrialData:
    """Stripes; half of the unlabelled ones with a dark patch."""
    longer = max(size)
    train, held_out, test = (
        waves(count, seed, longer)[..., : size[0], : size[1]].contiguous()
        for count, seed in ((12, 0), (4, 1), (8, 2))
    )
    test[4:, :, 4:11, 4:11] = 0
    return TrialData(train, held_out, test)


def fitted(
    method: Method, data: TrialData, seed: int = 0, rungs: int = RUNGS, **options: Any
) -> list[Progress]:
    return list(method.fit(data, small(method), Context(seed=seed, rungs=rungs, **options)))


def grid_of(method: Method) -> list[dict[str, Value]]:
    """The default scoring setting, and one for each other choice or end of a range."""
    scoring = [p for p in method.hyperparameters if p.tier == "scoring"]
    default = {p.name: small(method).get(p.name, p.default) for p in scoring}
    grid = [default]
    for parameter in scoring:
        others = parameter.choices or tuple(v for v in (parameter.low,) if v is not None)
        grid += [{**default, parameter.name: value} for value in others]
    if "map_normalisation" in default:
        # Of every raw map, which is what normals are measured by.
        normalised = {"map_normalisation": "z", "border": 0.125}
        named = [s for s in grid if s not in grid[:1]]
        raw = {"discrepancy", "level", "score"}
        grid += [{**default, **normalised}]
        grid += [{**s, **normalised} for s in named if any(s.get(n) != default.get(n) for n in raw)]
    return grid


def rounding(setting: Mapping[str, Value], values: Tensor) -> float:
    """What rounding may change: that of a raw map which is all but 0, where the detector hardly
    errs, is magnified with it."""
    plain = setting.get("map_normalisation", "none") == "none"
    return 1e-6 if plain else max(1e-6, 1e-4 * float(values.abs().max()))


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def declares_itself(method: Method) -> None:
    names = [p.name for p in method.hyperparameters]
    assert len(names) == len(set(names))
    assert method.title and method.paper
    for parameter in method.hyperparameters:
        assert parameter.help and parameter.source, parameter.name
        assert parameter.validate(parameter.default) == parameter.default
    complete(method.hyperparameters, small(method))


def reports_every_rung(method: Method, data: TrialData) -> None:
    found = fitted(method, data)
    assert [progress.rung for progress in found] == list(range(1, RUNGS + 1))
    assert all(math.isfinite(progress.train_loss) for progress in found)
    assert all(math.isfinite(v) for p in found for v in p.diagnostics.values())


def scores_images(method: Method, data: TrialData, **options: Any) -> None:
    detector = fitted(method, data, **options)[-1].detector
    grid, test = grid_of(method), unit(data.test)
    height, width = data.size
    for batch in (test, test[:1]):
        scores = detector.grid_scores(batch, grid)
        assert scores.shape == (len(grid), len(batch))
        assert bool(torch.isfinite(scores).all())
        embedded = detector.embed(batch)
        assert embedded.ndim == 2 and len(embedded) == len(batch)
        assert bool(torch.isfinite(embedded).all())
        if isinstance(detector, MapDetector):
            maps = detector.maps(batch, grid[0])
            assert maps.shape == (len(batch), height, width) and bool(torch.isfinite(maps).all())
        if isinstance(detector, ReconstructingDetector):
            assert detector.reconstruct(batch).shape == batch.shape
    if isinstance(detector, OnePassDetector) and options.get("precision") != "bfloat16":
        for setting in grid:
            judged, scored = detector.one_pass(setting)(test), detector.scores(test, setting)
            torch.testing.assert_close(
                judged[0], scored, rtol=1e-3, atol=10 * rounding(setting, scored)
            )
            assert len(judged) == 1 + isinstance(detector, MapDetector)
            for maps in judged[1:]:
                expected = detector.maps(test, setting)  # type: ignore[attr-defined]
                torch.testing.assert_close(
                    maps, expected, rtol=1e-3, atol=rounding(setting, expected)
                )
    one_by_one = torch.stack([detector.scores(test, setting) for setting in grid])
    torch.testing.assert_close(one_by_one, detector.grid_scores(test, grid), rtol=1e-3, atol=1e-5)


def repeats_and_restores(method: Method, data: TrialData) -> None:
    one, two = (fitted(method, data, seed=3)[-1].detector for _ in range(2))
    grid, test = grid_of(method), unit(data.test)
    # As in a trial, weights are taken after judging.
    scores = one.grid_scores(test, grid)
    torch.testing.assert_close(two.grid_scores(test, grid), scores, rtol=0, atol=0)
    assert same(one.weights(), two.weights())
    for weights in (one.weights(), everything(one)):
        restored = method.restore(small(method), weights)
        torch.testing.assert_close(restored.grid_scores(test, grid), scores, rtol=1e-4, atol=1e-6)
    if isinstance(restored, OnePassDetector):
        for row, setting in zip(scores, grid, strict=True):
            judged = restored.one_pass(setting)(test)[0]
            torch.testing.assert_close(judged, row, rtol=1e-3, atol=10 * rounding(setting, row))
    if any("map_normalisation" in setting for setting in grid):
        old = {k: v for k, v in one.weights().items() if not k.startswith("statistics.")}
        earlier = method.restore(small(method), old)
        plain = [s for s in grid if s["map_normalisation"] == "none"]
        torch.testing.assert_close(
            earlier.grid_scores(test, plain), restored.grid_scores(test, plain)
        )
        with pytest.raises(ValueError, match="no statistics of held-out normals"):
            earlier.grid_scores(test, grid)


def resumes_exactly(method: Method, data: TrialData) -> None:
    """Under every schedule of the learning rate, and in all that a rung reports."""
    schedules = [p for p in method.hyperparameters if p.name == "schedule"]
    for values in [
        {**small(method), "schedule": choice} for p in schedules for choice in p.choices
    ] or [small(method)]:

        def train(values: dict[str, Value] = values, **options: Any) -> Iterator[Progress]:
            return method.fit(data, values, Context(seed=5, rungs=3, **options))

        whole = list(train())
        for done in (1, 2):
            state = whole[done - 1].state()
            kept = copy.deepcopy(state)
            rest = list(train(resume=state))
            assert same(flat(state), flat(kept))
            assert [p.rung for p in rest] == [2, 3][done - 1 :]
            for one, two in zip(rest, whole[done:], strict=True):
                assert one.train_loss == two.train_loss and one.tuned == two.tuned
                assert one.diagnostics == pytest.approx(dict(two.diagnostics), nan_ok=True, abs=0)
                assert same(flat(one.state()), flat(two.state()))
            assert same(rest[-1].detector.weights(), whole[-1].detector.weights())
        assert list(train(resume=whole[-1].state())) == []


def flat(state: Any, name: str = "") -> dict[str, Tensor]:
    """The numbers of a nested state by their path in it."""
    if isinstance(state, Mapping):
        parts = [flat(value, f"{name}.{key}") for key, value in state.items()]
    elif isinstance(state, list | tuple):
        parts = [flat(value, f"{name}.{place}") for place, value in enumerate(state)]
    else:
        known = isinstance(state, Tensor | bool | int | float)
        return {name: torch.as_tensor(state).nan_to_num()} if known else {name: torch.zeros(0)}
    return {key: value for part in parts for key, value in part.items()}


def corrupts_within_bounds(method: Method, data: TrialData) -> None:
    def draw() -> tuple[Tensor, Tensor]:
        return method.corrupt(data, small(method), 3, torch.Generator().manual_seed(7))

    clean, corrupted = draw()
    assert clean.shape == corrupted.shape == (3, 3, *data.size)
    for pair in (clean, corrupted):
        assert float(pair.min()) >= 0 and float(pair.max()) <= 1
    assert torch.equal(draw()[1], corrupted)
    assert all(isinstance(name, str) for name in method.families(small(method)))


def refuses_values_out_of_bounds(method: Method, data: TrialData) -> None:
    for parameter in method.hyperparameters:
        bad: Value = "no such choice" if parameter.choices else -1e30
        if parameter.low is None and not parameter.choices:
            continue
        with pytest.raises(ValueError, match=parameter.name):
            method.check(data, {**small(method), parameter.name: bad})
