"""Several detectors in one package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from methods.contract import unit
from methods.ensemble import ENSEMBLE, Ensemble, Member, ensemble_of
from tests.registry.conftest import SIZE, write_toy
from tests.registry.test_package import pictures
from tests.registry.toys import DistanceDetector, ScoreOnly
from tuner.registry import PackageError, Trained, export_onnx, load_package, read_package
from tuner.registry.export import ONNX_FILE, open_graph
from tuner.registry.package import PACKAGE_FILE

IMAGES = pictures(12)


def write(folder: Path, *, silent: bool = False) -> Ensemble:
    """Two detectors that localise, or one of them and one without maps."""
    means = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    other = ScoreOnly(means[1]) if silent else DistanceDetector(means[1], 5.0)
    second = Trained(7, "registry_toy_scores", {}, {}) if silent else None
    trained = [
        Trained(4, "registry_toy", {"gain": 2.0}, {"pooling": "max"}),
        second or Trained(7, "registry_toy", {"gain": 5.0}, {"pooling": "mean"}),
    ]
    reference = torch.from_numpy(pictures(30, seed=9)).permute(0, 3, 1, 2).contiguous()
    detectors = [DistanceDetector(means[0], 2.0), other]
    joint = ensemble_of(
        [
            Member.of(detector, made.scoring, reference)[0]
            for detector, made in zip(detectors, trained, strict=True)
        ]
    )
    write_toy(
        folder, method=ENSEMBLE, hyperparameters={}, scoring={}, weights=joint.weights(),
        threshold=0.6, members=trained,
    )  # fmt: skip
    return joint


def test_an_ensemble_comes_out_of_its_package_as_it_went_in(tmp_path):
    joint = write(tmp_path, silent=True)
    packaged = load_package(tmp_path, "cpu")
    batch = unit(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    found = packaged.predict(IMAGES)
    assert np.array_equal(found["score"], joint.scores(batch, {}).double().numpy())
    assert np.array_equal(found["map"], joint.one_pass({})(batch)[1].numpy())
    assert found["score"][3] == pytest.approx(packaged.predict(IMAGES[3])["score"][0], abs=1e-6)
    package = read_package(tmp_path)
    assert [member.trial for member in package.members] == [4, 7]
    assert package.trained == [("registry_toy", {"gain": 2.0}), ("registry_toy_scores", {})]
    assert json.loads((tmp_path / PACKAGE_FILE).read_text())["format"] == 2
    export = export_onnx(tmp_path, IMAGES.transpose(0, 3, 1, 2))
    assert not export.possible and "member 2: the method offers" in export.reason


def test_the_whole_ensemble_is_one_graph(tmp_path):
    write(tmp_path)
    export = export_onnx(tmp_path, IMAGES.transpose(0, 3, 1, 2))
    assert export.done, export.reason
    score, verdict, heat = open_graph(tmp_path / ONNX_FILE).run(None, {"images": IMAGES})
    expected = load_package(tmp_path, "cpu").predict(IMAGES)
    assert score == pytest.approx(expected["score"], abs=1e-5)
    assert heat == pytest.approx(expected["map"], abs=1e-4)
    assert np.array_equal(verdict, expected["verdict"]) and 0 < verdict.sum() < len(verdict)


def test_a_member_that_cannot_be_restored_is_a_broken_package(tmp_path):
    write(tmp_path)
    path = tmp_path / PACKAGE_FILE
    content = json.loads(path.read_text())
    content["members"][1]["method"] = "gone"
    path.write_text(json.dumps(content))
    with pytest.raises(PackageError, match="gone"):
        load_package(tmp_path)
    content["members"] = [{"trial": 1}]
    path.write_text(json.dumps(content))
    with pytest.raises(PackageError, match="members"):
        read_package(tmp_path)
