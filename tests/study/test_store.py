"""What the driver has in memory is what lies in the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from search_spaces.loader import Choice
from tests.study.toys import make_conductor, make_ledger, play
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
