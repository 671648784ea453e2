from __future__ import annotations

import pytest

from methods.registry import get_method, method_names
from search_spaces.loader import SearchSpaceError, load_search_space, parse, space_names
from tuner.study.space import build_space


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
