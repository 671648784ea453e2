"""Normalisation before the network: its equation, and a detector that keeps to it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.contract import Context, TrialData, unit
from methods.filtering_autoencoder.detector import FilteringDetector
from methods.filtering_autoencoder.normalisation import Normaliser, normalised
from methods.registry import get_method
from tests.methods.stripes import waves

FAE = get_method("fae")
TINY = {"width": 4, "batch_size": 4, "steps": 3, "learning_rate": 2e-3}
KINDS = ["mean", "mean_spread"]


def measured(kind: str, train: Tensor) -> Normaliser:
    found = Normaliser.measured(kind, train)
    assert found is not None
    return found


def test_the_equation_by_hand() -> None:
    train = torch.tensor([[51, 102], [102, 153]], dtype=torch.uint8).expand(2, 3, 2, 2)
    # Mean 0.4 in each channel; differences -0.2 0 0 0.2, spread sqrt(0.02).
    image = torch.tensor([[0.7, 0.8], [0.8, 0.9]]).expand(1, 3, 2, 2)
    lowered = torch.tensor([[0.3, 0.4], [0.4, 0.5]]).expand(1, 3, 2, 2)
    stretched = torch.tensor([[0.2, 0.4], [0.4, 0.6]]).expand(1, 3, 2, 2)
    assert torch.allclose(measured("mean", train)(image), lowered, atol=1e-6)
    assert torch.allclose(measured("mean_spread", train)(image), stretched, atol=1e-6)
    assert Normaliser.measured("none", train) is None


@pytest.mark.parametrize("kind", KINDS)
def test_other_light_cancels_and_comes_back(kind: str) -> None:
    images = 0.8 * unit(waves(6, 1))
    normaliser = measured(kind, waves(8, 0) // 4 * 3)
    lit = images + torch.tensor([0.1, 0.0, -0.1])[:, None, None]
    assert torch.allclose(normaliser(lit), normaliser(images), atol=1e-5)
    assert torch.allclose(normaliser.undo(normaliser(lit), lit), lit, atol=1e-5)
    same = torch.allclose(normaliser(0.7 * images), normaliser(images), atol=1e-5)
    assert same == (kind == "mean_spread")


@pytest.mark.parametrize("kind", KINDS)
def test_blank_images_stay_finite(kind: str) -> None:
    blank = torch.full((2, 3, 16, 16), 0.3)
    assert torch.allclose(measured(kind, waves(8, 0))(blank).std((2, 3)), torch.zeros(2, 3))
    flat = measured(kind, torch.full((2, 3, 16, 16), 90, dtype=torch.uint8))
    assert bool(flat(unit(waves(3, 1))).isfinite().all())


def test_a_trials_images_are_normalised_and_its_textures_not() -> None:
    train, textures = waves(6, 0), waves(2, 3)
    data = TrialData(train, train[:2] // 2, train[2:4] // 2, textures)
    seen = normalised(data, measured("mean_spread", train))
    assert torch.equal(seen.textures, textures)
    change = (seen.held_out.short() - train[:2].short()).abs()
    assert seen.held_out.dtype == torch.uint8 and change.float().mean() < 4
    assert normalised(data, None) is data


@pytest.mark.parametrize("kind", KINDS)
def test_a_detector_scores_the_same_under_other_light(kind: str) -> None:
    data = TrialData(waves(12, 0), waves(4, 1), waves(6, 2))
    images = unit(data.test)
    darker = images - 0.15
    setting = {"discrepancy": "mse", "smoothing_passes": 0, "pooling": "sum"}

    def fitted(**values: object) -> FilteringDetector:
        context = Context(rungs=1)
        return list(FAE.fit(data, {**TINY, **values}, context))[-1].detector  # type: ignore[return-value,dict-item]

    detector, plain = fitted(normalisation=kind), fitted()
    assert torch.allclose(
        detector.scores(darker, setting), detector.scores(images, setting), rtol=0.05
    )
    assert torch.allclose(detector.embed(darker), detector.embed(images), atol=0.2)
    assert not torch.allclose(plain.embed(darker), plain.embed(images), atol=0.2)
    # Reconstructions come in the images' own light.
    moved = (detector.reconstruct(darker) - detector.reconstruct(images)).mean()
    assert float(moved) == pytest.approx(-0.15, abs=0.01)
    restored = FAE.restore({**TINY, "normalisation": kind}, detector.weights())
    assert torch.equal(restored.scores(darker, setting), detector.scores(darker, setting))
    # A package judges by one pass, and must see the images in the same light.
    score, maps = restored.one_pass(setting)(darker)
    torch.testing.assert_close(score, detector.scores(darker, setting))
    torch.testing.assert_close(maps, detector.maps(darker, setting))
