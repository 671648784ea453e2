"""The exported graph says what the package says, or there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from methods.filtering_autoencoder.detector import FilteringDetector
from methods.filtering_autoencoder.projection import Projection
from methods.networks.unet import UNet
from tests.registry import toys
from tests.registry.conftest import SIZE, write_toy
from tests.registry.test_package import pictures
from tuner.registry import export_onnx, load_package, read_export, save_package
from tuner.registry.export import EXPORT_FILE, ONNX_FILE, OPSET, open_graph, parity

IMAGES = pictures(5).transpose(0, 3, 1, 2)


def test_a_graph_of_any_batch_says_what_the_package_says(toy):
    folder, _ = toy
    export = export_onnx(folder, IMAGES)
    assert export.done and export.opset == OPSET and read_export(folder) == export
    session = open_graph(folder / ONNX_FILE)
    assert session.get_modelmeta().custom_metadata_map["tuner.threshold"] == "1.2"
    for count in (1, 3):
        images = pictures(count, seed=count)
        score, verdict, heat = session.run(None, {"images": images})
        expected = load_package(folder).predict(images)
        assert score == pytest.approx(expected["score"], abs=1e-5)
        assert heat == pytest.approx(expected["map"], abs=1e-5)
        assert np.array_equal(verdict, expected["verdict"])


@pytest.mark.parametrize(
    "scoring",
    [
        {"discrepancy": "msgms", "smoothing_passes": 2, "pooling": "topk_relative"},
        {"discrepancy": "ssim", "pooling": "sum"},
        {"discrepancy": "ssim", "pooling": "topk", "map_normalisation": "z", "border": 0.0625},
    ],
)
def test_an_autoencoder_with_its_whole_scoring(tmp_path, scoring):
    torch.manual_seed(0)
    size = (40, 48)  # more than 1024 pixels: the background is that of scattered ones
    network = UNet(4, 3, True, size)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    normals = torch.from_numpy(pictures(6, size, seed=9).transpose(0, 3, 1, 2).copy())
    detector = FilteringDetector(network, size, normals=normals)
    detector.measure([Projection()])
    save_package(
        tmp_path,
        method="fae",
        hyperparameters={"width": 4, "kernel": 3, "skips": True},
        scoring=scoring,
        weights=detector.weights(),
        size=size,
        threshold=0.05,
        false_positive_rate=0.05,
        held_out_scores=[0.1],
        category="tile",
        study="s",
        fingerprint="abc",
        versions={},
    )
    export = export_onnx(tmp_path, pictures(4, size).transpose(0, 3, 1, 2))
    assert export.done, export.reason
    found = parity(
        load_package(tmp_path, "cpu"), tmp_path / ONNX_FILE, pictures(3, size).transpose(0, 3, 1, 2)
    )
    assert found.holds and 0 < found.difference <= 1e-4 and found.images == 3


def test_no_parity_no_graph(toy, monkeypatch):
    folder, _ = toy
    assert export_onnx(folder, IMAGES).done
    judge = toys.DistanceDetector.one_pass

    def different(self, scoring):
        one_pass = judge(self, scoring)
        scoring_of = one_pass.scoring

        def scored(images, other):
            score, maps = scoring_of(images, other)
            return score, maps * (1 + 0.001 * torch.compiler.is_exporting())

        one_pass.scoring = scored
        return one_pass

    monkeypatch.setattr(toys.DistanceDetector, "one_pass", different)
    export = export_onnx(folder, IMAGES)
    assert not export.done and export.possible and "no parity" in export.reason
    assert "0.001" in export.reason and not (folder / ONNX_FILE).exists()
    assert not list(folder.glob("*.part"))


def test_what_has_no_graph_says_why(tmp_path):
    write_toy(tmp_path, method="registry_toy_scores", hyperparameters={}, scoring={})
    export = export_onnx(tmp_path, IMAGES)
    assert not export.done and not export.possible and "single pass" in export.reason
    assert (tmp_path / EXPORT_FILE).exists() and not (tmp_path / ONNX_FILE).exists()


def test_a_damaged_graph_is_refused_by_name(toy):
    folder, _ = toy
    (folder / ONNX_FILE).write_bytes(b"no graph")
    with pytest.raises(OSError, match="no ONNX graph"):
        parity(load_package(folder, "cpu"), folder / ONNX_FILE, IMAGES)
    assert IMAGES.shape[2:] == SIZE
