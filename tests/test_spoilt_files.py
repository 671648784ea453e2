"""A study whose files were spoilt: it costs what they held, is named, and begins nothing anew."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_mvtec
from tuner.job import audit, launch, plan_study, resume
from tuner.reporting import report
from tuner.status import study_status
from tuner.study import database
from tuner.study.config import StudyConfig
from tuner.study.home import Home
from tuner.study.ledger import Ledger
from tuner.voice import Silent

pytestmark = pytest.mark.heavy


class Hearing(Silent):
    """Keeps what it is warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A home with a study that has ended, and its summary."""
    folder = tmp_path_factory.mktemp("ended")
    asked = StudyConfig(
        name="whole", category="part", data=str(write_mvtec(folder / "images")), size=(32, 32),
        methods=("filter-memory",), budget="4", engine="local", cpus_per_worker=1, export=False,
        early_stopping=False, keep=1,
    )  # fmt: skip
    return folder / "home", launch(asked, Home(folder / "home"))


@pytest.fixture
def home(tmp_path: Path, ended: tuple[Path, dict[str, Any]]) -> Home:
    shutil.copytree(ended[0], tmp_path / "home")
    return Home(tmp_path / "home")


def timeless(summary: dict[str, Any]) -> dict[str, Any]:
    """Of a summary, what neither time nor place changes."""
    kept = ("trials", "winner", "arms", "reliability", "groups", "warnings", "audit", "model")
    return {name: summary[name] for name in kept}


def test_scores_are_made_again_from_weights_and_weights_from_packages(
    home: Home, ended: tuple[Path, dict[str, Any]]
) -> None:
    summary, folder = ended[1], home.study("whole")
    winner = summary["winner"]["trial"]
    other = next(n for n in range(4) if n != winner)
    shutil.rmtree(folder.trial(winner))
    scores = folder.trial(other) / "scores.npz"
    scores.write_bytes(scores.read_bytes()[:500])
    voice = Hearing()
    again = resume("whole", home, voice)
    assert timeless(again) == timeless(summary)
    for number, name in ((winner, "detector.safetensors is gone"), (other, "npz is damaged")):
        (said,) = [text for text in voice.warnings if text.startswith(f"trial {number} had lost")]
        assert name in said and "made again" in said


def test_a_study_that_has_ended_is_left_as_it_is(
    home: Home, ended: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    voice = Hearing()
    monkeypatch.setattr(voice, "say", said.append)
    monkeypatch.setattr("tuner.job.Job.prepare", lambda *_: pytest.fail("nothing is left to do"))
    again = resume("whole", home, voice)
    assert timeless(again) == timeless(ended[1])
    assert said == [
        "the study whole has ended, with 4 trials. For more of them: tuner resume whole --budget 8"
    ]
    batch = again["unlabelled"]
    assert 0 <= batch["flagged"] <= batch["images"] == 12
    assert again["caught"] and all(0 <= share <= 1 for share in again["caught"].values())
    winner = again["winner"]
    assert winner["defaults"].keys() == winner["hyperparameters"].keys()


def test_a_trial_without_weights_is_named_and_left_out(
    home: Home, ended: tuple[Path, dict[str, Any]]
) -> None:
    summary, folder = ended[1], home.study("whole")
    winner = summary["winner"]["trial"]
    shutil.rmtree(folder.path / "best")
    lost = next(n for n in range(4) if n != winner)
    shutil.rmtree(folder.trial(lost))
    voice = Hearing()
    again = resume("whole", home, voice)
    for name in ("trial", "hyperparameters", "criteria", "learned"):
        assert again["winner"][name] == summary["winner"][name]
    assert any(text.startswith(f"trial {lost} has lost its files") for text in voice.warnings)
    opened = audit("whole", home)
    assert opened is not None and str(lost) not in opened["trials"]["image_auroc"]
    # One that cannot be packaged any more does not win either.
    shutil.rmtree(folder.trial(winner))
    shutil.rmtree(folder.package)
    third = resume("whole", home, Hearing())["winner"]["trial"]
    assert third not in (winner, lost)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("name", ["ledger.db", "mlflow.db", "studies/whole/study.json"])
@pytest.mark.parametrize("damage", [cut, lambda file: file.write_bytes(bytes(range(256)) * 20)])
def test_a_damaged_store_is_named_at_once(
    home: Home, name: str, damage: Callable[[Path], Any]
) -> None:
    damage(home.path / name)
    with pytest.raises(ValueError, match=rf"{home.path / name} is damaged.*tuner resume whole"):
        resume("whole", home)


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"")])
def test_a_ledger_that_is_gone_is_not_begun_anew(home: Home, damage: Callable[[Path], Any]) -> None:
    file = home.path / "ledger.db"
    damage(file)
    there = file.exists()
    for go_on in (lambda: resume("whole", home), lambda: launch(asked(home), home, resume=True)):
        with pytest.raises(ValueError, match=r"restore it from a backup.* had 4 trials"):
            go_on()
    with pytest.raises(LookupError, match=r"ledger\.db is"):
        study_status("whole", home)
    assert file.exists() == there and (not there or not file.stat().st_size)


def asked(home: Home) -> StudyConfig:
    return StudyConfig.read(home.study("whole").config)


def test_what_a_command_writes_again_is_named_with_it(home: Home) -> None:
    folder = home.study("whole")
    for file, command in ((folder.audit, "audit"), (folder.summary, "resume")):
        cut(file)
        with pytest.raises(ValueError, match=rf"{file} is damaged.*tuner {command} whole"):
            report("whole", home)
    warmed = asked(home).changed(name="next", warm_start="whole")
    cut(folder.config)
    with pytest.raises(ValueError, match=rf"{folder.config} is damaged"):
        launch(warmed, home)


def test_what_was_measured_is_measured_again(home: Home) -> None:
    home.precision.write_text("[]")
    plan_study(asked(home).changed(name="next"), home)
    home.precision.write_bytes(b"\xff{")
    plan_study(asked(home).changed(name="next"), home)


def test_who_locks_a_ledger_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.2)
    script = (
        "import sqlite3, sys; held = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "held.execute('BEGIN EXCLUSIVE'); print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(home.path / "ledger.db")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        said = rf"locked by process {other.pid} \(\w+\) .* tuner resume whole"
        with pytest.raises(ValueError, match=said):
            resume("whole", home)
        other.communicate("end")
    assert len(Ledger.read(home.ledger_url, "whole").entries()) == 4
