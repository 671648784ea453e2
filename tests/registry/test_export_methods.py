"""Every shipped method either becomes a graph that says the same, or says why it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from methods.contract import everything, unit
from methods.hyperparameter import Value
from methods.onepass import OnePassDetector
from methods.registry import get_method, method_names
from methods.scoring.normalisation import left_out
from tests.methods import conformance
from tuner.registry import calibrate, export_onnx, load_package, save_package
from tuner.registry.export import ONNX_FILE, parity

SHIPPED = [n for n in method_names() if type(get_method(n)).__module__.startswith("methods.")]
# Why a scoring is no fixed graph: all others must export.
REASONS = ("needs a gradient", "goes on as long as each image needs")
SIZE = (32, 32)
# Methods that differ in training only: their detectors are those of another method.
TWINS = {
    "pae": "fae", "fae-tuned": "fae", "random-static": "st-ssad", "random-dynamic": "st-ssad",
    "feature-fae-tuned": "feature-fae",
}  # fmt: skip


def settings_of(name: str, detector: OnePassDetector) -> tuple[list[dict[str, Value]], list[str]]:
    """The scoring settings of a method that can be exported, and why the others cannot."""
    settings = conformance.grid_of(get_method(name))
    obstacles = [detector.one_pass(setting).obstacle for setting in settings]
    free = [s for s, obstacle in zip(settings, obstacles, strict=True) if not obstacle]
    return free, [obstacle for obstacle in obstacles if obstacle]


@pytest.mark.parametrize("name", sorted(set(SHIPPED) - set(TWINS)))
def test_a_method_exports_or_says_why_not(name: str, tmp_path: Path) -> None:
    method, data = get_method(name), conformance.images(SIZE)
    detector = conformance.fitted(method, data)[-1].detector
    assert isinstance(detector, OnePassDetector)
    free, obstacles = settings_of(name, detector)
    assert all(any(reason in obstacle for reason in REASONS) for obstacle in obstacles)
    held_out = data.held_out.numpy()
    scores, threshold = calibrate(detector, free[0], held_out, 0.25)
    with left_out():
        expected = detector.scores(unit(data.held_out), free[0])
    torch.testing.assert_close(torch.from_numpy(scores).float(), expected)
    save_package(
        tmp_path, method=name, hyperparameters=conformance.small(method), scoring=free[0],
        weights=everything(detector), size=SIZE, threshold=threshold.value,
        false_positive_rate=0.25, held_out_scores=scores, category="c", study="s",
        fingerprint="f", versions={},
    )  # fmt: skip
    export = export_onnx(tmp_path, data.test.numpy())
    assert export.done, export.reason
    packaged = load_package(tmp_path, "cpu")
    for count in (1, 3):
        found = parity(packaged, tmp_path / ONNX_FILE, data.test[:count].numpy())
        assert found.holds, str(found)


@pytest.mark.parametrize(("name", "other"), TWINS.items())
def test_a_twin_has_the_detector_of_the_method_that_is_exported(name: str, other: str) -> None:
    data = conformance.images(SIZE)
    one, two = (
        conformance.fitted(get_method(each), data, rungs=1)[-1].detector for each in (name, other)
    )
    assert type(one) is type(two)
