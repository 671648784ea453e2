"""A category with two rivals in a real SQLite registry: a good challenger and a worse one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from methods.contract import unit
from tests.conftest import write_mvtec
from tests.registry import toys
from tuner.data import prepare
from tuner.registry import calibrate, register_winner, save_package
from tuner.study.config import StudyConfig
from tuner.study.home import Home
from tuner.tracking import Tracker, default_artifacts, default_uri

SIZE = (32, 32)


@dataclass
class Shop:
    """Where rivals are registered."""

    home: Home
    data: Path
    tracker: Tracker

    @property
    def uri(self) -> str:
        return self.tracker.uri

    def register(self, study: str, quality: float, **changes) -> int:
        """A study whose winner compares with the mean image (quality 1) or with noise (0)."""
        config = StudyConfig(
            name=study, category="part", data=str(self.data), size=SIZE, methods=("fae",)
        )
        config.write(self.home.study(study).config)
        prepared = prepare(config.data, "part", SIZE, self.home.cache)
        mean = unit(torch.from_numpy(np.array(prepared.train))).mean(0)
        noise = torch.rand(mean.shape, generator=torch.Generator().manual_seed(3))
        detector = toys.DistanceDetector(quality * mean + (1 - quality) * noise, 1.0)
        scoring = {"pooling": "max"}
        scores, threshold = calibrate(detector, scoring, np.array(prepared.train), 0.05)
        values = {
            "method": "registry_toy",
            "hyperparameters": {"gain": 1.0},
            "scoring": scoring,
            "weights": detector.weights(),
            "size": SIZE,
            "threshold": threshold.value,
            "false_positive_rate": 0.05,
            "held_out_scores": scores,
            "category": "part",
            "study": study,
            "fingerprint": prepared.fingerprint,
            "versions": {"tuner": "0.1.0"},
        }
        folder = self.home.study(study).package
        save_package(folder, **{**values, **changes})
        run = self.tracker.start_trial(self.tracker.start_study(study, {}, {}), 0, {}, {})
        tags = {"tuner.study": study, "tuner.trial": "0"}
        return register_winner(self.tracker, run, folder, "part", tags).version

    def summarise(self, study: str, **content) -> None:
        self.home.study(study).summary.write_text(json.dumps(content))


@pytest.fixture(scope="session")
def empty_shop(tmp_path_factory) -> Path:
    """A registry with its tables and two versions: making the tables is the slow part."""
    root = tmp_path_factory.mktemp("shop")
    data = write_mvtec(root / "data", normals=30)
    home = Home(root / "home")
    shop = Shop(home, data, Tracker(default_uri(home.path), str(default_artifacts(home.path))))
    assert (shop.register("poor", 0.0), shop.register("good", 1.0)) == (1, 2)
    return root


@pytest.fixture
def shop(empty_shop) -> Shop:
    """The same registry in every test, without champion, history and what was said of versions."""
    from tuner.registry.history import HISTORY_TAG
    from tuner.tracking.store import make_client

    home = Home(empty_shop / "home")
    tracker = Tracker(default_uri(home.path), str(default_artifacts(home.path)))
    client = make_client(tracker.uri)
    for key in client.get_registered_model("part").tags:
        if key.startswith(HISTORY_TAG):
            client.delete_registered_model_tag("part", key)
    client.delete_registered_model_alias("part", "champion")
    for number in ("1", "2"):
        for key in client.get_model_version("part", number).tags:
            if key.startswith(("tuner.gate.", "tuner.promotion.", "tuner.retired")):
                client.delete_model_version_tag("part", number, key)
    client.set_registered_model_alias("part", "challenger", "2")
    for study in ("poor", "good"):
        home.study(study).summary.unlink(missing_ok=True)
        home.study(study).audit.unlink(missing_ok=True)
    return Shop(home, empty_shop / "data", tracker)
