"""What `tuner list` shows of methods and search spaces."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from methods.criteria.registry import criterion_names
from methods.registry import get_method, method_names
from search_spaces.loader import load_search_space, space_names
from tuner.cli.main import app
from tuner.study.study_level import STUDY_LEVEL


def listed(*arguments: str) -> list[dict[str, object]]:
    done = CliRunner().invoke(app, ["list", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    rows: list[dict[str, object]] = json.loads(done.stdout)[arguments[0]]
    return rows


def test_every_method_and_space_is_listed_once() -> None:
    assert [row["method"] for row in listed("methods")] == list(method_names())
    spaces = listed("spaces")
    assert [row["space"] for row in spaces] == list(space_names())
    assert next(r for r in spaces if r["space"] == "fae")["scoring settings"] == 252


def test_criteria_of_trials_and_of_studies_are_listed_once() -> None:
    rows = listed("criteria")
    of = {
        kind: [row["criterion"] for row in rows if row["of"] == kind] for kind in ("trial", "study")
    }
    assert of == {"trial": criterion_names(), "study": list(STUDY_LEVEL)}
    assert all(row["title"] and row["source"] and row["direction"] for row in rows)


@pytest.mark.parametrize("name", method_names())
def test_a_method_shows_every_hyperparameter_with_its_source(name: str) -> None:
    rows = listed("methods", name)
    declared = get_method(name).hyperparameters
    assert [str(row["hyperparameter"]).split(" ")[0] for row in rows] == [p.name for p in declared]
    for row, parameter in zip(rows, declared, strict=True):
        assert row["default"] == parameter.default
        assert parameter.source in str(row["meaning"])


def test_a_space_shows_what_it_draws_and_what_it_scores() -> None:
    rows = listed("spaces", "fae")
    space = load_search_space("fae")
    assert [row["hyperparameter"] for row in rows] == [*space.training, *space.scoring]


@pytest.mark.parametrize("arguments", [("methods", "nope"), ("criteria", "x"), ("nothing",)])
def test_what_is_not_there_is_refused(arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, ["list", *arguments])
    assert done.exit_code == 2
    assert arguments[-1] in done.output
