"""A study of detectors on features of a frozen network, with the one that trains nothing beside."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from methods.backbones.features import Extractor
from methods.backbones.space import extractor_of
from methods.contract import Context, unit
from tests.conftest import write_mvtec
from tuner.job import launch, resume
from tuner.study.config import StudyConfig, ledger_url
from tuner.study.home import Home
from tuner.study.ledger import Ledger
from tuner.study.selection import rank
from tuner.study.workbench import set_up
from tuner.voice import Silent


def config_of(data: Path, **changes: Any) -> StudyConfig:
    pins = {"backbone": "random", "steps": 4, "width": 4, "batch_size": 4, "bottleneck": 4}
    values: dict[str, Any] = {
        "name": "felt", "category": "part", "data": str(data), "budget": "4",
        "methods": ("feature-fae",), "engine": "local", "cpus_per_worker": 1, "rungs": 2,
        "precision": "float32", "size": (64, 64), "export": False, "pins": pins,
    }  # fmt: skip
    return StudyConfig(**{**values, **changes})


@pytest.mark.heavy
def test_the_memory_is_a_trial_that_cannot_win(home: Path, tmp_path: Path) -> None:
    where = Home(home)
    config = config_of(write_mvtec(tmp_path / "data"))
    summary = launch(config, where, Silent())
    ledger = Ledger.read(ledger_url(config, where), "felt")
    entries = ledger.entries()
    assert [(e.kind, e.method) for e in entries[:2]] == [
        ("default", "feature-fae"),
        ("control", "patch-memory"),
    ]
    assert len(entries) == 4 and {e.method for e in entries[2:]} == {"feature-fae"}
    control = entries[1]
    assert control.state == "finished" and control.point == {}
    bench = set_up(config, where)
    leading = bench.objectives[0]
    assert control.last["criteria"][leading.name] is not None
    assert control.number not in [e.number for e in rank(entries, leading)]
    assert summary["winner"]["method"] == "feature-fae"
    assert summary["arms"]["control"] == {"trial": 1, "method": "patch-memory"}
    over = summary["arms"]["criteria"][leading.name]
    sign = 1 if leading.direction == "maximize" else -1
    assert over["over_control"] == pytest.approx(sign * (over["winner"] - over["control"]))
    assert summary["audit"]["trials"]["control"] == 1
    assert summary["audit"]["control"]["image_auroc"] is not None
    assert str(control.number) not in summary["audit"]["trials"]["image_auroc"]
    # An ended study offers no second one.
    resume("felt", where, Silent(), budget="5")
    kinds = [e.kind for e in Ledger.read(ledger_url(config, where), "felt").entries()]
    assert kinds.count("control") == 1 and len(kinds) == 5


def test_no_trial_sends_an_image_of_the_study_through_the_backbone_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(write_mvtec(tmp_path / "data"))
    bench = set_up(config, Home(home))
    arrays = bench.with_features({})
    data = arrays.trial_data()
    whole = [data.train, data.held_out, data.test, torch.from_numpy(arrays.synthetic["images"])]
    assert sorted(table.scale for table in data.features) == [0.5, 0.75, 1.0]
    assert [point["scale"] for point in bench.spaces[0].starts] == [0.5, 1.0]
    # Where a scale would show the network too little, it is left out, and for the control, too.
    small = set_up(config.changed(size=(32, 32)), Home(home))
    assert [s.complete(s.defaults)["scale"] for s in small.spaces] == [1.0, 1.0]
    assert not any(space.starts for space in small.spaces)
    assert all(len(table.rows) <= sum(map(len, whole)) for table in data.features)
    sent: list[int] = []
    plain = Extractor.differentiable
    monkeypatch.setattr(
        Extractor,
        "differentiable",
        lambda self, images: sent.append(len(images)) or plain(self, images),
    )
    values = bench.spaces[0].complete(bench.spaces[0].defaults)
    extractors = [
        extractor_of(data.features, {**values, "scale": table.scale}, Context())
        for table in data.features
    ]
    for extractor, images in itertools.product(extractors, whole):
        found = extractor(unit(images))
        for level, exact in zip(found, extractor.computed(unit(images)), strict=True):
            torch.testing.assert_close(
                level, exact, rtol=2e-3, atol=2e-3 * float(exact.abs().max())
            )
        sent.clear()
        extractor(unit(images))
        assert not sent


def test_what_memory_does_not_bear_is_refused_before_training(home: Path, tmp_path: Path) -> None:
    pins = {"backbone": "random", "corrupted_versions": 64}
    config = config_of(write_mvtec(tmp_path / "data"), size=(256, 256), pins=pins)
    bench = set_up(config, Home(home))
    small = replace(bench, machine=replace(bench.machine, memory=1.3 * 2**30))
    with pytest.raises(ValueError, match=r"GiB of features .* lower --set corrupted_versions"):
        small.plan(Home(home))
