"""A study whose winner is an ensemble, from the search to a champion that another process asks."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tuner
from tests.conftest import write_mvtec
from tests.study.toys import QUALITY, trial
from tuner.job import launch, resume
from tuner.prediction.serving import ask, serving
from tuner.registry import read_package
from tuner.registry.locate import locate
from tuner.request import registry_uri
from tuner.study.config import StudyConfig
from tuner.study.home import Home
from tuner.study.selection import Winner, select


class Listening:
    """A voice that keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


def config_of(data: Path, **changes: Any) -> StudyConfig:
    values: dict[str, Any] = {
        "name": "joint", "category": "part", "data": str(data), "budget": "3", "ensemble": 5,
        "methods": ("fae", "filter-memory"), "engine": "local", "cpus_per_worker": 1, "rungs": 1,
        "early_stopping": False, "precision": "float32", "size": (32, 32), "export": False,
        "pins": {"steps": 4, "fae.width": 4, "fae.batch_size": 4},
    }  # fmt: skip
    return StudyConfig(**{**values, **changes})


@pytest.mark.heavy
def test_an_ensemble_survives_its_driver_and_judges_alike_everywhere(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, voice = Home(home), Listening()
    config = config_of(write_mvtec(tmp_path / "data"))

    def die(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("tuner.outcome.pictures", die)
        with pytest.raises(KeyboardInterrupt):
            launch(config, where, voice)
    before = read_package(where.study("joint").package)
    summary = resume("joint", where, voice)
    assert read_package(where.study("joint").package) == before
    assert any("5 was asked for, but 3 trials can be chosen" in t for t in voice.warnings)
    numbers = [member["trial"] for member in summary["winner"]["members"]]
    assert len(numbers) == 3 and numbers[0] == summary["winner"]["trial"]
    assert {member["method"] for member in summary["winner"]["members"]} == set(config.methods)
    assert [member.trial for member in before.members] == numbers

    audit = summary["audit"]
    assert audit["trials"]["members"] == numbers == audit["ensemble"]["members"]
    assert audit["ensemble"]["packaged"] is True
    assert audit["ensemble"]["image_auroc"] == audit["winner"]["image_auroc"]
    single = audit["trials"]["image_auroc"][str(numbers[0])]
    assert (
        audit["single"]["image_auroc"] == single == audit["picks"][str(numbers[0])]["image_auroc"]
    )
    assert all(audit["winner"][name] is not None for name in ("pixel_auroc", "aupro"))
    again = tuner.audit("joint", home=home)
    assert again is not None and again["winner"] == audit["winner"]

    images = np.random.default_rng(0).integers(0, 256, (3, 50, 40, 3), dtype=np.uint8)
    found = tuner.load("joint", home=home, device="cpu").predict(images)
    assert len(set(found["score"])) == 3 and found["map"].shape == (3, 50, 40)
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")

    assert tuner.promote("part", home=home, force=True, reason="a test").event.after == 1
    verdicts = list(tuner.predict("part@champion", f"{tmp_path}/*.png", home=home, device="cpu"))
    assert [verdict.score for verdict in verdicts] == found["score"].tolist()
    folder = locate("part@champion", where, registry_uri(None, where)).folder
    # A proxy for all the world but this machine.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with serving(folder, port=0) as there:
        served = ask(there.url, images)
        file = ask(there.url, (tmp_path / "0.png").read_bytes())
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    for name in ("score", "verdict", "threshold"):
        assert served[name] == found[name].tolist(), name
    assert file["score"] == found["score"][:1].tolist() and "map" not in file
    small = tuner.load("joint", home=home, device="cpu").predict(images, maps="package")["map"]
    np.testing.assert_allclose(served["map"], small, rtol=1e-6)
    assert "An ensemble of trials" in Path(summary["report"]).read_text()
    where.study("joint").joint_scores.write_bytes(b"")
    with pytest.raises(ValueError, match="written again by: tuner resume joint"):
        tuner.audit("joint", home=home)


def test_only_trials_that_got_as_far_as_the_first_one_are_members() -> None:
    entries = [trial(n, {"quality": 1 - 0.1 * n}) for n in range(3)]
    entries[1] = replace(entries[1], state="stopped_early")
    ordered = select(entries, [QUALITY])
    assert [entry.number for entry in ordered] == [0, 2, 1]
    assert Winner.of(ordered, 3).numbers == [0, 2]
    assert Winner.of(ordered, None) == Winner(entries[0])
    assert Winner.of(ordered[:1], 3).numbers == [], "one alone is no ensemble"
    kept = Winner.kept(entries, {"trial": 0, "members": [0, 2]})
    assert kept == Winner.of(ordered, 2)
    assert Winner.kept(entries, {"trial": 0}) == Winner(entries[0])


def test_the_best_under_each_value_are_members_where_the_first_has_one() -> None:
    scales = {0: 0.75, 1: 0.75, 2: 0.5, 3: None, 4: 1.0}
    entries = [trial(n, {"quality": 1 - 0.1 * n}) for n in range(5)]
    entries[4] = replace(entries[4], state="stopped_early")
    ordered = select(entries, [QUALITY])
    assert Winner.of(ordered, None, lambda e: scales[e.number]).numbers == [0, 2]
    # A method that compares no scales wins alone, and so does the only scale.
    assert Winner.of(ordered[3:], None, lambda e: scales[e.number]).numbers == []
    assert Winner.of(ordered[:2], None, lambda e: scales[e.number]).numbers == []


@pytest.mark.parametrize("size", [0, 33])
def test_an_ensemble_of_none_is_refused_with_its_bounds(size: int) -> None:
    with pytest.raises(ValueError, match="2 to 32 members; give 1 for a single winner, or auto"):
        StudyConfig(name="x", category="y", ensemble=size)


def test_studies_of_earlier_versions_have_a_single_winner() -> None:
    assert StudyConfig(name="x", category="y").ensemble == "auto"
    assert StudyConfig(name="x", category="y", ensemble=1).ensemble is None
    assert StudyConfig.known({"name": "x", "category": "y"}).ensemble is None
