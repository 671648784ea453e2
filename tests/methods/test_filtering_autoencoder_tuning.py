"""CutDiff tuned by hypergradient in the filtering autoencoder, and taken over from elsewhere."""

import copy
import math

import pytest
import torch
from torch import Tensor

from methods.augmentation.cutdiff import CUTDIFF_SIGNED
from methods.contract import Context, TrialData, TuningMethod
from methods.corruption.cutdiff import adopted, settings_of, vector_of
from methods.corruption.recipe import CorruptionRecipe
from methods.criteria.alignment import validation_loss
from methods.filtering_autoencoder.embedding import Standardiser, blocks
from methods.filtering_autoencoder.loss import filtering_loss
from methods.filtering_autoencoder.tuning import (
    Features,
    inner_step,
    losses,
    painted,
    velocity,
)
from methods.hyperparameter import by_name
from methods.networks.unet import UNet
from methods.registry import get_method
from methods.self_tuning.hypergradient import hypergradient
from methods.self_tuning.hyperparameters import HYPERPARAMETERS as SELF_TUNING

TUNED, FAE = get_method("fae-tuned"), get_method("fae")
TINY = {"width": 2, "batch_size": 4, "steps": 8, "learning_rate": 2e-3, "inner_updates": 1}
VALUES = {"mask_weight": 0.4, "alignment": "validation_loss"}
SIZE = (16, 16)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def greys(count: int, seed: int, low: float = 0.3, high: float = 0.7) -> Tensor:
    share = torch.rand(count, 3, *SIZE, generator=generator(seed), dtype=torch.float64)
    return low + (high - low) * share


@pytest.fixture(scope="module")
def data() -> TrialData:
    def images(count: int, seed: int, dark: bool) -> Tensor:
        found = (255 * greys(count, seed)).to(torch.uint8)
        if dark:
            found[:, :, 4:9, 4:9] = 20
        return found

    return TrialData(images(12, 0, False), images(4, 1, False), images(8, 2, True))


@pytest.fixture(scope="module")
def trained() -> tuple[UNet, torch.optim.Adam]:
    """A network away from its start, in float64, with Adam's moments of three steps."""
    network = UNet(2, 3, True, SIZE, seed=1).double()
    with torch.no_grad():
        network.out.weight.normal_(0, 0.02, generator=generator(3))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for step in range(3):
        optimiser.zero_grad()
        images = greys(4, step)
        (network(images + 0.1) - images).square().mean().backward()
        optimiser.step()
    return network, optimiser


def test_the_hypergradient_is_that_of_finite_differences(
    trained: tuple[UNet, torch.optim.Adam],
) -> None:
    network, optimiser = trained
    clean, test, noise = greys(3, 4), greys(3, 5), 0.01 * greys(3, 6)
    test[:, :, 3:9, 5:12] -= 0.25
    draw = CUTDIFF_SIGNED.draw(3, SIZE, generator(7))
    draw.rows["centre"].copy_(0.3 + 0.4 * draw["centre"])
    vector = CUTDIFF_SIGNED.vector(
        {"log_size": math.log(0.05), "log_ratio": 0.2, "angle": 0.4, "amplitude": 0.2}
    )
    share = 0.5
    inner, before = inner_step(optimiser, share), velocity(network, optimiser, share)
    found = hypergradient(
        Features(network),
        vector,
        lambda moved: painted(clean, moved, draw),
        losses(clean, (noise, noise), test, VALUES, Context()),
        inner,
        velocity=before,
    )

    def by_hand(moved: Tensor) -> float:
        """One step on a copy of the network, written out, then the loss of its embeddings."""
        ahead = copy.deepcopy(network).requires_grad_(True)
        batch = painted(clean, moved, draw)
        output = ahead(batch[:, :3] + noise)
        loss = filtering_loss(output, clean + noise, batch[:, 3:], 0.4).mean()
        gradients = torch.autograd.grad(loss, list(ahead.parameters()))
        rate = inner.learning_rate / share
        with torch.no_grad():
            for parameter, own, gradient in zip(
                ahead.parameters(), network.parameters(), gradients, strict=True
            ):
                mean = optimiser.state[own]["exp_avg"] / (1 - 0.9)
                parameter -= rate * (0.9 * mean + share * gradient)
            sets = []
            for images in (clean, batch[:, :3], test):
                output, features = ahead.with_features(images)
                sets.append(blocks(features, images, output.clamp(0, 1)))
            scale = Standardiser.measured(*sets[0])
            return float(validation_loss(*(scale(*parts) for parts in sets)))

    assert found.validation_loss == pytest.approx(by_hand(vector), rel=1e-9)
    assert isinstance(found.gradient, Tensor) and found.cosine is not None
    for i in range(4):
        nudge = torch.zeros(4, dtype=torch.float64)
        nudge[i] = 1e-5
        slope = (by_hand(vector + nudge) - by_hand(vector - nudge)) / 2e-5
        assert float(found.gradient[i]) == pytest.approx(slope, rel=1e-4, abs=1e-8)
