"""Do trials agree on which images are suspicious?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.study.toys import make_conductor, make_ledger, record
from tuner.study.consensus import Consensus


def keep(folder: Path, number: int, scores: np.ndarray) -> None:
    """The scores of a trial under two settings, the second of which it was judged by."""
    target = folder / f"trials/{number}"
    target.mkdir(parents=True)
    rows = np.stack([np.ones_like(scores), scores]).astype(np.float32)
    np.savez(target / "scores.npz", test=rows, held_out=rows, setting=np.asarray(1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Trials 0 to 2 agree more or less, 3 is inverted, 4 says nothing, 5 is not finite."""
    truth = np.arange(20.0)
    told = [
        truth, np.exp(truth / 4), truth + 3 * np.sin(truth), -truth, truth * 0, truth / truth.max()
    ]  # fmt: skip
    told[5][3] = np.nan
    for number, scores in enumerate(told):
        keep(tmp_path, number, scores)
    return tmp_path


def test_the_inverted_one_stands_out(folder: Path) -> None:
    consensus = Consensus(lambda number: folder / f"trials/{number}")
    found = consensus.of(range(8))
    assert set(found) == {0, 1, 2, 3}
    assert min(found[n] for n in (0, 1, 2)) > 0.4 and found[3] < -0.9
    warning = consensus.warning(found[3], 3)
    assert warning is not None and "inverted" in warning
    assert all(consensus.warning(found[n], n) is None for n in (0, 1, 2))
    # 20 rankings without anything in common are often a little below zero.
    assert consensus.warning(-0.4, 0) is None and consensus.warning(-0.5, 0) is not None


def test_two_trials_are_no_majority(folder: Path) -> None:
    consensus = Consensus(lambda number: folder / f"trials/{number}")
    assert consensus.of([0, 3]) == {}
    assert consensus.of([0, 3, 4, 99]) == {}


def test_the_ledger_keeps_the_warning_of_an_inverted_trial(folder: Path) -> None:
    ledger = make_ledger(folder)
    conductor = make_conductor(
        ledger, "4", folder=lambda number: str(folder / f"trials/{number}"), early_stopping=False
    )
    while (spec := conductor.next()) is not None:
        for rung in range(1, 5):
            conductor.report(spec.number, record(spec.number, rung, 0.5))
    entries = ledger.entries()
    assert [entry.consensus is None for entry in entries] == [True, True, False, False]
    assert [len(entry.warnings) for entry in entries] == [0, 0, 0, 1]
    assert "against the other trials" in entries[3].warnings[0]


def test_one_trial_after_the_other_gives_what_all_at_once_gives(folder: Path) -> None:
    consensus = Consensus(lambda number: folder / f"trials/{number}")
    found = [consensus.of_next(number, range(number)) for number in range(8)]
    whole = [consensus.of(range(number + 1)).get(number) for number in range(8)]
    assert [value is None for value in found] == [True, True, False, False, True, True, True, True]
    assert found[2:4] == pytest.approx(whole[2:4])
