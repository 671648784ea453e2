"""What the driver has in memory is what lies in the database."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy

from search_spaces.loader import Choice
from tests.study.toys import make_conductor, make_ledger, play
from tuner.addresses import sqlite_path
from tuner.request import as_begun
from tuner.study.config import StudyConfig
from tuner.study.home import Home
from tuner.study.lease import Lease
from tuner.study.ledger import Ledger, open_storage
from tuner.study.space import MethodSpace
from tuner.study.trial import TrialSpec


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.db'}"


def trials(folder: Path, ledger: Ledger) -> list[list[dict[str, Any]]]:
    """Every field of every trial, in memory and as another process reads them."""
    there = optuna.load_study(study_name="toy-study", storage=open_storage(url(folder)))
    return [[vars(t) for t in study.get_trials()] for study in (ledger._study, there)]


def test_memory_equals_the_database_at_every_rung(tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path)

    def quality(spec: TrialSpec, rung: int) -> float:
        here, there = trials(tmp_path, ledger)
        assert here == there
        assert ledger.entries() == Ledger.read(url(tmp_path), "toy-study").entries()
        return float(spec.hyperparameters["rate"]) + spec.number % 2

    conductor = make_conductor(ledger, "7")
    assert play(conductor, quality) == list(range(7))
    here, there = trials(tmp_path, ledger)
    assert here == there and {t["_user_attrs"]["outcome"] for t in here} == {
        "finished", "stopped_early",
    }  # fmt: skip


def test_nobody_sees_a_trial_ended_without_all_of_its_fields(tmp_path: Path) -> None:
    """Another process reads the ledger after each of its transactions."""
    ledger = make_ledger(tmp_path)
    ends: dict[int, Any] = {}
    looks = 0

    def look(_: Any) -> None:
        nonlocal looks
        for entry in Ledger.read(url(tmp_path), "toy-study").entries():
            looks += 1
            if entry.state != "running":
                assert entry == ends.setdefault(entry.number, entry)
                assert entry.ended is not None
                assert entry.state != "finished" or entry.value is not None

    engine = ledger._study._storage._behind.engine
    sqlalchemy.event.listen(engine, "commit", look)
    play(make_conductor(ledger, "5"), lambda spec, rung: 1.0 + spec.number % 2)
    look(None)
    assert len(ends) == 5 and looks > 50
    assert list(ends.values()) == ledger.entries()


def test_a_trial_that_cannot_be_drawn_leaves_nothing(tmp_path: Path) -> None:
    # Optuna refuses a choice that is not the one of earlier trials.
    ledger = make_ledger(tmp_path)
    play(make_conductor(ledger, "2"), lambda spec, rung: 1.0)
    other = MethodSpace(
        method="toy", drawn={"kind": Choice(("a", "c"))}, fixed={}, defaults={"kind": "a"},
        grid=({"pooling": "max"},), default_setting=0,
    )  # fmt: skip
    broken = make_ledger(tmp_path, resume=True, spaces=[other])
    with pytest.raises(ValueError, match="dynamic value space"):
        broken.ask(3)
    here, there = trials(tmp_path, broken)
    assert here == there and len(here) == 2


@pytest.mark.parametrize(
    "name", ["home-with space", "home-ü", "line #3", "50%41", "a?b", "{x}", "[1]'\";@:&=+~", "a\\b"]
)
def test_a_ledger_lies_in_its_home_whatever_that_is_called(tmp_path: Path, name: str) -> None:
    home = Home.at(tmp_path / name)
    with Lease(home.ledger_url, "toy-study"):
        make_ledger(tmp_path, url=home.ledger_url)
    assert sorted(path.name for path in home.path.iterdir()) == ["ledger.db", "ledger.db.lock"]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert sqlite_path(home.ledger_url) == home.path / "ledger.db"


def test_a_home_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\\udcfc has bytes that are not UTF-8; rename it"):
        Home.at(os.fsdecode(os.fsencode(tmp_path) + b"/h\xfc"))


def test_what_an_earlier_version_asked_for_is_read_as_it_was(tmp_path: Path) -> None:
    config = StudyConfig(name="s", category="c")
    config.write(tmp_path / "new.json")
    assert StudyConfig.read(tmp_path / "new.json") == config
    content = json.loads((tmp_path / "new.json").read_text())
    del content["recipe"], content["edition"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    old = StudyConfig.read(tmp_path / "old.json")
    assert (old.recipe, old.edition) == (2, 1)
    home = Home.at(tmp_path / "home")
    home.study("s").path.mkdir(parents=True)
    (tmp_path / "old.json").rename(home.study("s").config)
    begun = as_begun(config, home)
    assert (begun.recipe, begun.edition) == (2, 1)
    assert as_begun(config.changed(name="other"), home) == config.changed(name="other")
