from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from methods.augmentation import augmentation_names
from methods.contract import Context, TrialData
from methods.hyperparameter import Value, by_name
from methods.registry import get_method, method_names
from search_spaces.loader import (
    EDITION,
    Choice,
    Distribution,
    SearchSpaceError,
    load_search_space,
    parse,
    space_names,
)
from tests.methods import conformance
from tuner import api
from tuner.study.home import Home
from tuner.study.space import MethodSpace, build_space
from tuner.study.workbench import set_up


@pytest.mark.parametrize("name", space_names())
@pytest.mark.parametrize("preset", ["cpu", "gpu"])
def test_every_shipped_space_fits_its_method(name: str, preset: str) -> None:
    space = load_search_space(name)
    built = build_space(get_method(space.method), space, preset, {})
    assert built.drawn
    assert built.grid[built.default_setting] in built.grid
    declared = {p.name for p in get_method(space.method).hyperparameters if p.tier == "training"}
    assert set(built.complete(built.defaults)) == declared


def test_every_method_has_a_space() -> None:
    # Other tests register toys of their own; what ships lives in the package.
    shipped = {n for n in method_names() if type(get_method(n)).__module__.startswith("methods.")}
    assert shipped <= {load_search_space(name).method for name in space_names()}


def test_the_grid_of_the_filtering_autoencoder_has_fifty_settings() -> None:
    space = build_space(get_method("fae"), load_search_space("fae"), "cpu", {})
    assert len(space.grid) >= 50
    assert len({tuple(sorted(s.items())) for s in space.grid}) == len(space.grid)


@pytest.mark.parametrize(
    ("name", "earlier", "present"),
    [("fae", 75, 252), ("pae", 75, 252), ("fae-cutdiff", 75, 252), ("fae-tuned", 75, 252),
     ("filter-memory", 25, 140), ("energy-projection", 36, 216)],
)  # fmt: skip
def test_an_earlier_study_keeps_its_grid(name: str, earlier: int, present: int) -> None:
    space = load_search_space(name)
    method = get_method(space.method)
    old, new = (build_space(method, space.as_begun(edition), "cpu", {}) for edition in (1, EDITION))
    assert (len(old.grid), len(new.grid)) == (earlier, present)
    assert {(s["map_normalisation"], s["border"]) for s in old.grid} == {("none", 0.0)}
    # What a trial kept is told apart by its place: passes vary slower than sizes and poolings.
    if name == "fae":
        sizes = [s["smoothing_size"] for s in old.grid if s["smoothing_passes"] == 2]
        assert sizes == ([0.04296875] * 5 + [0.12] * 5) * 3
        pinned = build_space(
            method, parse("{method: fae, scoring: {projections: [1, 3], pooling: [sum, max]}}", ""),
            "cpu", {"mask_weight": 0.5},
        )  # fmt: skip
        assert [(s["projections"], s["pooling"]) for s in pinned.grid] == [
            (1, "sum"), (1, "max"), (3, "sum"), (3, "max")
        ]  # fmt: skip


def test_pins_leave_the_search_and_are_validated() -> None:
    method, space = get_method("fae"), load_search_space("fae")
    built = build_space(method, space, "cpu", {"mask_weight": 0.25, "discrepancy": "mse"})
    assert "mask_weight" not in built.drawn
    assert built.fixed["mask_weight"] == 0.25
    assert {setting["discrepancy"] for setting in built.grid} == {"mse"}
    with pytest.raises(ValueError, match=r"mask_weight is 7.*from 0 to 1"):
        build_space(method, space, "cpu", {"mask_weight": 7})
    with pytest.raises(ValueError, match="unknown hyperparameter mask_wait"):
        build_space(method, space, "cpu", {"mask_wait": 0.5})


def test_a_range_must_hold_the_default_and_lie_within_the_bounds() -> None:
    method = get_method("fae")
    narrow = parse("{method: fae, training: {mask_weight: {low: 0.6, high: 0.9}}}", "here")
    with pytest.raises(ValueError, match=r"mask_weight leaves out its default 0\.5"):
        build_space(method, narrow, "cpu", {})
    wide = parse("{method: fae, training: {mask_weight: {low: 0.1, high: 1.5}}}", "here")
    with pytest.raises(ValueError, match=r"mask_weight is 1\.5"):
        build_space(method, wide, "cpu", {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "must be a mapping"),
        ("{title: x}", "does not say its method"),
        ("{method: fae, wat: 1}", "has wat"),
        ("{method: fae, training: {x: {low: 2, high: 1}}}", "low must be below high"),
        ("{method: fae, training: {x: {low: 0, high: 1, log: true}}}", "above 0"),
        ("{method: fae, training: {x: 3}}", "must be a list, or low"),
        ("{method: fae, scoring: {x: []}}", "must be a list of values"),
        ("{method: [", "not valid YAML"),
    ],
)
def test_bad_spaces_are_refused(text: str, message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message):
        parse(text, "here")


def test_unknown_space_names_those_that_exist() -> None:
    with pytest.raises(SearchSpaceError, match=r"must be one of: .*fae"):
        load_search_space("nope")


def test_settings_of_a_walk_that_mean_the_same_are_judged_once() -> None:
    method, space = get_method("energy-projection"), load_search_space("energy-projection")
    built = build_space(method, space, "cpu", {})
    assert len({tuple(sorted(s.items())) for s in built.grid}) == len(built.grid)
    default = built.grid[built.default_setting]
    assert default == {p.name: p.default for p in method.hyperparameters if p.tier == "scoring"}
    without = [s for s in built.grid if s["score"] == "reconstruction"]
    assert len({s["iterations"] for s in without}) == 1
    pinned = build_space(method, space, "cpu", {"step_size": 2.0, "score": "projection"})
    assert {s["step_size"] for s in pinned.grid} == {2.0}


# Whatever else can be pinned that makes a drawn value of a shipped space mean nothing.
PINS: list[tuple[str, dict[str, Value]]] = [
    *((name, {}) for name in space_names()),
    *(("st-ssad", {"augmentation": name}) for name in augmentation_names(differentiable=True)),
    ("fae", {"noise_target": "none"}),
    ("fae", {"noise_sigma": 0.0}),
    ("fae", {"stroke_share": 0.0, "dots_share": 0.0}),
    ("fae", {"blob_share": 0.0, "dots_share": 0.0}),
    ("fae", {"occlusion_share": 0.0, "perlin_share": 1.0}),
    ("fae", {"occlusion_share": 0.0, "blocks_share": 1.0}),
    ("fae-cutdiff", {"cutdiff_share": 0.0}),
    ("fae-cutdiff", {"occlusion_share": 0.0}),
    ("fae-tuned", {"corruption_tuning": "none"}),
    ("feature-fae-tuned", {"corruption_tuning": "none"}),
]


# What a frozen backbone needs of a side.
SIDES = {"feature-fae": 96, "feature-fae-tuned": 96, "patch-memory": 96}


@cache
def noise(side: int) -> TrialData:
    def images(count: int, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.rand(count, 3, 8, 8, generator=generator)
        return (255 * torch.nn.functional.interpolate(coarse, side)).to(torch.uint8)

    return TrialData(images(8, 0), images(4, 1), images(8, 2))


def trained(space: MethodSpace, point: dict[str, Value], data: TrialData) -> dict[str, Any]:
    method = get_method(space.method)
    small = {
        name: value for name, value in conformance.small(method).items() if name in space.fixed
    }
    values = {**space.complete(point), **small}
    values |= {"width": 2} if "width" in values else {}
    *_, last = method.fit(data, values, Context(seed=1, rungs=1))
    return last.detector.weights()


def other_values(distribution: Distribution, value: Value) -> list[Value]:
    """A choice, or the ends of a range: at a small size one of them may be beyond resolution."""
    if isinstance(distribution, Choice):
        return [next(v for v in reversed(distribution.values) if v != value)]
    return [end for end in (distribution.low, distribution.high) if end != value]


@pytest.mark.parametrize(("name", "pins"), PINS, ids=str)
def test_whatever_is_drawn_changes_what_is_trained(name: str, pins: dict[str, Value]) -> None:
    shipped, data = load_search_space(name), noise(SIDES.get(name, 32))
    space = build_space(get_method(shipped.method), shipped, "cpu", pins)
    base = dict(space.defaults)
    known: dict[str, dict[str, Any]] = {}
    declared = by_name(get_method(shipped.method).hyperparameters)
    for parameter, distribution in space.drawn.items():
        if pins and not declared[parameter].unless:
            continue  # as without the pins
        point = dict(base)
        for condition in space.unless.get(parameter, ()):
            # Where it means something, which for a default may be elsewhere.
            for asked, values in condition:
                if space.idle(parameter, point):
                    choices = space.drawn[asked]
                    assert isinstance(choices, Choice)
                    point[asked] = next(v for v in choices.values if v not in values)
        assert not space.idle(parameter, point)
        if repr(point) not in known:
            known[repr(point)] = trained(space, point, data)
        assert any(
            not conformance.same(
                known[repr(point)], trained(space, {**point, parameter: value}, data)
            )
            for value in other_values(distribution, point[parameter])
        ), parameter


def test_what_means_nothing_at_a_point_is_left_out_of_it() -> None:
    space = build_space(get_method("fae"), load_search_space("fae"), "cpu", {})
    drawn = list(space.drawn)
    assert drawn.index("noise_target") < drawn.index("noise_sigma")
    silent = space.nearest({"noise_target": "none", "noise_sigma": 0.1})
    assert "noise_sigma" not in silent and "noise_law" not in silent
    assert space.complete(silent)["noise_sigma"] == space.defaults["noise_sigma"]
    assert space.alike(silent, {**silent, "noise_sigma": 0.1})
    loud = space.nearest({"noise_sigma": 0.1})
    assert loud["noise_sigma"] == 0.1 and not space.alike(loud, {**loud, "noise_sigma": 0.2})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return api.home_at(tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize(
    ("method", "pins", "message"),
    [
        ("energy-projection", {"score": "kl-gradient"}, "score is kl-gradient, but the model l2"),
        ("energy-projection", {"score": "kl-gradient", "model": "vae"}, None),
        ("fae", {"steps": 3}, "steps is 3, but must be at least the number of rungs, 4"),
        ("fae-tuned", {"cutdiff_amplitude": 0.0}, "cutdiff_amplitude is 0"),
    ],
)
def test_a_plan_refuses_what_some_of_its_trials_could_not_do(
    home: Home, method: str, pins: dict[str, Value], message: str | None
) -> None:
    config = api.configure(category="grid", size=32, method=method, set=pins, engine="local")
    if message is None:
        set_up(config, home)
    else:
        with pytest.raises(ValueError, match=message):
            set_up(config, home)
