"""Studies side by side, and the pages of other projects on their stores."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from tuner.cli.main import app
from tuner.comparison import compare
from tuner.study.config import StudyConfig
from tuner.study.home import Home
from tuner.viewers import viewer


def ended(
    home: Home,
    name: str,
    *,
    fingerprint: str = "a",
    criterion: str = "score_variance",
    sigma: float = 0.2,
    **more: Any,
) -> None:
    folder = home.study(name)
    folder.path.mkdir(parents=True)
    StudyConfig(name=name, category="lids", data="demo", budget="3", criterion=criterion).write(
        folder.config
    )
    folder.summary.write_text(
        json.dumps(
            {
                "study": name,
                "category": "lids",
                "data": {"source": "demo", "fingerprint": fingerprint},
                "trials": {"finished": 2, "stopped_early": 1, "failed": 0},
                "seconds": 90.0,
                "winner": {
                    "trial": 1,
                    "method": "fae",
                    "hyperparameters": {"steps": 40, "noise_sigma": sigma},
                    "criteria": {"score_variance": 1.5},
                },
                "model": {"name": "lids", "version": 4},
                "audit": None,
                **more,
            }
        )
    )


def test_what_differs_is_shown_and_what_is_alike_is_not(tmp_path: Path) -> None:
    home = Home(tmp_path)
    ended(home, "one")
    ended(home, "two", sigma=0.4, audit={"winner": {"image_auroc": 0.9}})
    found = compare(["one", "two"], home)
    assert found["rows"]["hyperparameters that differ"] == {"noise_sigma": [0.2, 0.4]}
    assert found["rows"]["audit of the winner"] == {"image_auroc": [None, 0.9]}
    assert found["rows"]["study"]["trials"] == [3, 3]
    assert found["cautions"] == []


def test_figures_that_do_not_compare_are_marked(tmp_path: Path) -> None:
    home = Home(tmp_path)
    ended(home, "one")
    ended(home, "two", fingerprint="b")
    ended(home, "three", criterion="validation_loss")
    assert "different images" in compare(["one", "two"], home)["cautions"][0]
    assert "different criteria" in compare(["one", "three"], home)["cautions"][0]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path)
    ended(home, "one")
    with pytest.raises(ValueError, match="two studies or more to compare, got 1"):
        compare(["one", "one"], home)
    with pytest.raises(ValueError, match="no study is named 'none'"):
        compare(["one", "none"], home)
    ended(home, "open")
    home.study("open").summary.unlink()
    with pytest.raises(ValueError, match="open has not ended; end it first by: tuner resume open"):
        compare(["one", "open"], home)


def test_the_viewer_opens_the_studys_own_store(tmp_path: Path) -> None:
    home = Home(tmp_path)
    ended(home, "one")
    command, more = viewer(home, "one", optuna=False, host="127.0.0.1", port=5001)
    assert command[1:4] == ["-m", "mlflow", "ui"] and "5001" in command
    # Everybody on a machine sees command lines, and an address may hold a password.
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert more["MLFLOW_BACKEND_STORE_URI"] == store and store not in " ".join(command)
    StudyConfig(
        name="away", category="lids", data="demo", budget="3", tracking_uri="http://mlflow:5000"
    ).write(_folder(home, "away"))
    with pytest.raises(ValueError, match="open http://mlflow:5000"):
        viewer(home, "away", optuna=False, host="127.0.0.1", port=5001)


@pytest.mark.heavy
def test_a_page_ends_with_its_command_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = tmp_path / "child"

    def opening(script: str) -> None:
        monkeypatch.setattr("tuner.viewers.viewer", lambda *_, **__: (["sh", "-c", script], {}))

    def stop() -> None:
        while not noted.is_file() or not noted.read_text().endswith("\n"):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    opening("echo the port is taken; exit 3")
    ended = CliRunner().invoke(app, ["ui"])
    assert ended.exit_code == 2 and "the page ended at once: the port is taken" in ended.output
    opening(f"sleep 60 & echo $! > {noted}; wait")
    threading.Thread(target=stop).start()
    assert CliRunner().invoke(app, ["ui"]).exit_code == 0
    child = int(noted.read_text())
    gone = not psutil.pid_exists(child)
    assert gone or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def _folder(home: Home, name: str) -> Path:
    folder = home.study(name)
    folder.path.mkdir(parents=True)
    return folder.config
