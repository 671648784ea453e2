"""Every registered method, and the one of the contributor's page, against the contract."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from methods.contract import Context, Method, TrialData
from methods.registry import METHODS, get_method, method_names
from search_spaces.loader import load_search_space, space_names
from tests.methods import conformance
from tests.methods.waits import Waits
from tuner.study.space import build_space

PAGE = Path(__file__).parents[2] / "docs" / "contributing.md"
EXAMPLE = "mean-image"
SHIPPED = [n for n in method_names() if type(get_method(n)).__module__.startswith("methods.")]
CHECKS: list[Callable[[Method, TrialData], None]] = [
    conformance.reports_every_rung,
    conformance.scores_images,
    conformance.repeats_and_restores,
    conformance.resumes_exactly,
    conformance.corrupts_within_bounds,
    conformance.refuses_values_out_of_bounds,
]


@pytest.fixture(scope="module")
def example() -> Iterator[Method]:
    """The method that the page shows, registered as long as this file is tested."""
    body, head = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    exec(compile(head + body, str(PAGE), "exec"), {})
    yield get_method(EXAMPLE)
    METHODS.known.pop(EXAMPLE)


@pytest.fixture
def method(request: pytest.FixtureRequest, example: Method) -> Method:
    return example if request.param == EXAMPLE else get_method(request.param)


EVERY = pytest.mark.parametrize("method", [*SHIPPED, EXAMPLE], indirect=True)


@EVERY
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_method_keeps_the_contract(
    method: Method, check: Callable[[Method, TrialData], None]
) -> None:
    check(method, conformance.images((32, 32)))


@EVERY
def test_a_method_declares_itself(method: Method) -> None:
    conformance.declares_itself(method)


@EVERY
def test_sides_that_differ_are_taken_or_refused(method: Method) -> None:
    data = conformance.images((32, 48))
    refusal = ""
    try:
        method.check(data, conformance.small(method))
    except ValueError as error:
        refusal = str(error)
    if not refusal:
        conformance.scores_images(method, data)
    assert not refusal or "32" in refusal or "48" in refusal


@EVERY
def test_bfloat16_gives_finite_scores(method: Method) -> None:
    conformance.scores_images(method, conformance.images((32, 32)), precision="bfloat16")


@pytest.mark.parametrize("name", space_names())
@pytest.mark.parametrize("preset", ["cpu", "gpu"])
def test_a_search_space_fits_its_method(name: str, preset: str) -> None:
    space = load_search_space(name)
    built = build_space(get_method(space.method), space, preset, {})
    assert built.drawn and built.grid
    assert built.grid[built.default_setting] in built.grid


def test_every_method_has_a_search_space() -> None:
    assert {load_search_space(name).method for name in space_names()} >= set(SHIPPED)


def test_the_pages_search_space_fits_its_method(example: Method, tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.S)
    assert yaml.safe_load(text)["method"] == EXAMPLE
    file = tmp_path / "mean-image.yaml"
    file.write_text(text)
    built = build_space(example, load_search_space(str(file)), "cpu", {})
    assert list(built.drawn) == ["steps"] and len(built.grid) == 2


# Waits for a device in a step, had it one: the loss, which is looked at in each step on the CPU
# alone; of a corruption one look at its shapes, and where they lie; of a self-tuned step the
# losses and what it moved by. Beside these, a tuned vector, which is on the CPU, is read.
WAITS = {
    **{"fae": 3, "pae": 3, "fae-tuned": 13, "feature-fae": 3, "feature-fae-tuned": 15},
    **{"st-ssad": 5, "random-static": 3, "random-dynamic": 4},
}


TRAINED = [n for n in SHIPPED if "batch_size" in {p.name for p in get_method(n).hyperparameters}]


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_waits_for_the_device_no_more_than_it_must(name: str) -> None:
    method, found = get_method(name), []
    data = conformance.images((64, 64) if name.startswith("feature-fae") else (16, 16))
    wanted = {"width": 2, "batch_size": 4, "code": 4, "warm_share": 0.2, "inner_updates": 1}
    values = {p.name: wanted[p.name] for p in method.hyperparameters if p.name in wanted}
    for steps in (5, 7):
        with Waits() as waits:
            list(method.fit(data, {**values, "steps": steps}, Context(rungs=1)))
        found.append(waits.found)
    more = found[1].total() - found[0].total()
    assert more <= 2 * WAITS.get(name, 1), found
