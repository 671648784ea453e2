"""Packages of detectors on a frozen network: whole by themselves, alone and as an ensemble."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from methods.backbones import weights as backbone_weights
from methods.contract import BackedDetector, Context, everything
from methods.ensemble import ENSEMBLE, Member, ensemble_of
from methods.registry import get_method
from methods.state import move
from tests.methods import conformance
from tuner.registry import (
    PackageError,
    Trained,
    calibrate,
    export_onnx,
    load_package,
    read_package,
    save_package,
)
from tuner.registry.export import ONNX_FILE, parity
from tuner.registry.package import PACKAGE_FILE, WEIGHTS_FILE
from tuner.registry.register import backbone_tags

SIZE = (32, 32)
METHODS = ("feature-fae", "patch-memory")
DATA = conformance.images(SIZE)


def trained(name: str, backbone: str = "random", number: int = 0) -> tuple[Trained, BackedDetector]:
    method = get_method(name)
    values = {**conformance.small(method), "backbone": backbone}
    detector = list(method.fit(DATA, values, Context(seed=number, rungs=1)))[-1].detector
    assert isinstance(detector, BackedDetector)
    return Trained(number, name, values, conformance.grid_of(method)[0]), detector


def write(folder: Path, made: Sequence[tuple[Trained, BackedDetector]], **changes: Any) -> None:
    """The package of one detector, or of several as an ensemble."""
    (first, alone), *others = made
    if others:
        reference = torch.cat((DATA.test, DATA.held_out))
        joint = ensemble_of([Member.of(d, t.scoring, reference)[0] for t, d in made])
        settings: dict[str, Any] = {"method": ENSEMBLE, "hyperparameters": {}, "scoring": {}}
        settings |= {"weights": joint.weights(), "members": [t for t, _ in made]}
        scores, threshold = calibrate(joint, {}, DATA.held_out.numpy(), 0.25)
    else:
        settings = {"method": first.method, "hyperparameters": first.hyperparameters}
        settings |= {"scoring": first.scoring, "weights": everything(alone)}
        scores, threshold = calibrate(alone, first.scoring, DATA.held_out.numpy(), 0.25)
    values = {
        "size": SIZE, "threshold": threshold.value, "false_positive_rate": 0.25,
        "held_out_scores": scores, "category": "c", "study": "s", "fingerprint": "f",
        "versions": {}, "backbones": [d.backbone for _, d in made], **settings,
    }  # fmt: skip
    save_package(folder, **{**values, **changes})


@pytest.mark.parametrize("methods", [("feature-fae",), ("patch-memory",), METHODS])
def test_a_package_needs_no_backbone_to_be_installed(
    methods: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [trained(name, "efficientnet-lite0", place) for place, name in enumerate(methods)]
    write(tmp_path, made)
    expected = load_package(tmp_path, "cpu").judge(DATA.test.numpy())
    with monkeypatch.context() as context:
        context.setattr(importlib.util, "find_spec", lambda name: None)
        backbone_weights._loaded.cache_clear()
        found = load_package(tmp_path, "cpu").judge(DATA.test.numpy())
    for name, values in expected.items():
        assert np.array_equal(found[name], values), name
    package = read_package(tmp_path)
    (told,) = package.backbones
    assert told.name == "efficientnet-lite0" and "Apache-2.0" in told.origin
    assert backbone_tags(package) == {
        "tuner.backbone": "efficientnet-lite0",
        "tuner.backbone_sha256": backbone_weights._PACKAGED["efficientnet-lite0"][2],
        "tuner.backbone_origin": told.origin,
    }
    # The trial's own file stays small, and the package has the network once a member.
    small = sum(w.nbytes for w in made[0][1].weights().values())
    frozen = sum(w.nbytes for w in made[0][1].frozen().values())
    assert small < frozen < 3_000_000
    assert (tmp_path / WEIGHTS_FILE).stat().st_size > len(made) * frozen


@pytest.mark.parametrize("name", METHODS)
def test_a_detector_restored_beside_other_weights_names_both_digests(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, detector = trained(name)
    write(tmp_path, [(made, detector)], weights=detector.weights())
    monkeypatch.setattr(backbone_weights, "_RANDOM_SEED", 1)
    backbone_weights._loaded.cache_clear()
    try:
        other = backbone_weights.load_backbone("random", (8, 16)).digest
        with pytest.raises(PackageError, match=f"{other}, but .* {detector.backbone.digest}"):
            load_package(tmp_path, "cpu")
        write(tmp_path, [(made, detector)])
        assert load_package(tmp_path, "cpu").detector.backbone.digest == detector.backbone.digest  # type: ignore[attr-defined]
    finally:
        backbone_weights._loaded.cache_clear()


def test_a_package_of_before_has_no_backbone_and_a_torn_one_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [trained("patch-memory")])
    path = tmp_path / PACKAGE_FILE
    content = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in content.items() if k != "backbones"}))
    assert read_package(tmp_path).backbones == () and backbone_tags(read_package(tmp_path)) == {}
    load_package(tmp_path, "cpu")
    path.write_text(json.dumps({**content, "backbones": [{"name": "random"}]}))
    with pytest.raises(PackageError, match="backbones that are not whole"):
        read_package(tmp_path)


@pytest.mark.parametrize("backbone", ["random", "efficientnet-lite0"])
def test_an_ensemble_with_its_backbone_is_one_graph(backbone: str, tmp_path: Path) -> None:
    write(tmp_path, [trained(name, backbone, place) for place, name in enumerate(METHODS)])
    export = export_onnx(tmp_path, DATA.test.numpy())
    assert export.done, export.reason
    found = parity(load_package(tmp_path, "cpu"), tmp_path / ONNX_FILE, DATA.train[:3].numpy())
    assert found.holds, str(found)


@pytest.mark.parametrize("name", METHODS)
def test_a_detector_moves_as_a_whole(name: str) -> None:
    _, detector = trained(name)
    shared, frozen = backbone_weights.load_backbone("random", (8, 16)), detector.frozen()
    move(detector, torch.device("meta"))
    found = tensors_of(detector)
    assert {tensor.device.type for tensor in found} == {"meta"}
    # Backbone, space, statistics of two numbers a map, standardiser, and the method's own.
    assert len(found) > len(frozen) - 1 + 2 + 2 * 3 + 2
    assert shared.device.type == "cpu"


def tensors_of(thing: Any) -> list[torch.Tensor]:
    """Every tensor that a detector is made of."""
    if isinstance(thing, torch.Tensor):
        return [thing]
    if isinstance(thing, torch.nn.Module):
        return [*thing.parameters(), *thing.buffers()]
    parts = thing.values() if isinstance(thing, dict) else vars(thing).values()
    made_of = [p for p in parts if isinstance(p, torch.Tensor | dict) or hasattr(p, "__dict__")]
    return [tensor for part in made_of for tensor in tensors_of(part)]
