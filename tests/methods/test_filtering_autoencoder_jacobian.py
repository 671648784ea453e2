"""The Jacobian's distance from the identity: estimated, penalised and reported with its kin."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from methods.contract import Context, Diverged, TrialData
from methods.corruption.recipe import CorruptionRecipe, apply
from methods.corruption.textures import TextureSources
from methods.filtering_autoencoder.diagnostics import OPACITIES, diagnose, image_count
from methods.filtering_autoencoder.jacobian import difference_distance, identity_distance
from methods.filtering_autoencoder.training import Training
from methods.hyperparameter import complete
from methods.registry import get_method
from search_spaces.loader import load_search_space

FAE, PAE = get_method("fae"), get_method("pae")
SIZE = (16, 16)
TINY = {"width": 2, "batch_size": 4, "steps": 4, "learning_rate": 2e-3}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normals(count: int, seed: int = 0) -> Tensor:
    return torch.randint(40, 220, (count, 3, *SIZE), generator=generator(seed)).to(torch.uint8)


@pytest.fixture(scope="module")
def data() -> TrialData:
    return TrialData(normals(8), normals(4, 1), normals(6, 2))


def smooth() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 6)).double()


def test_the_estimate_is_the_frobenius_norm_on_average() -> None:
    network, image = smooth(), torch.rand(1, 6, generator=generator(), dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda x: network(x[None])[0])(image[0])
    exact = (jacobian - torch.eye(6)).square().sum() / 6
    directions = torch.randn(20_000, 6, generator=generator(1), dtype=torch.float64)
    many = image.repeat(20_000, 1)
    for estimate in (identity_distance, difference_distance):
        found = estimate(network, many, directions)
        assert found.shape == (20_000,)
        assert float(found.mean()) == pytest.approx(float(exact), rel=0.02)
    exactly = ((jacobian - torch.eye(6)) @ directions[0]).square().sum() / 6
    one = identity_distance(network, image, directions[:1])
    assert float(one) == pytest.approx(float(exactly), rel=1e-9)


def test_the_penaltys_gradient_is_that_of_finite_differences() -> None:
    network = smooth()
    image = torch.rand(2, 6, generator=generator(), dtype=torch.float64)
    directions = torch.randn(2, 6, generator=generator(1), dtype=torch.float64)
    identity_distance(network, image, directions).sum().backward()
    weight = network[0].weight
    with torch.no_grad():
        for place in ((0, 0), (3, 2), (8, 5)):
            values = []
            for step in (1e-6, -1e-6):
                weight[place] += step
                values.append(float(identity_distance(network, image, directions).sum()))
                weight[place] -= step
            slope = (values[0] - values[1]) / 2e-6
            assert float(weight.grad[place]) == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_the_identity_has_no_distance_and_a_scaling_has_its_own() -> None:
    images = torch.rand(3, 3, 8, 8, generator=generator())
    directions = torch.randn(3, 3, 8, 8, generator=generator(1))
    assert identity_distance(lambda x: x, images, directions).max() == 0
    found = identity_distance(lambda x: 0.5 * x, images, directions)
    torch.testing.assert_close(found, 0.25 * directions.square().flatten(1).mean(1))


def test_the_penalty_enters_the_loss_with_its_weight(data: TrialData) -> None:
    def first_loss(weight: float) -> float:
        values = complete(PAE.hyperparameters, {**TINY, "jacobian_weight": weight})
        training = Training(data, values, Context(seed=1))
        with torch.no_grad():
            training.network.out.weight.normal_(0, 0.1, generator=generator(5))
        return float(training.step())

    none, one, two = (first_loss(weight) for weight in (0.0, 0.1, 0.2))
    assert one > none
    assert two - none == pytest.approx(2 * (one - none), rel=1e-3)


def test_the_penalty_keeps_the_jacobian_nearer_the_identity(data: TrialData) -> None:
    distance = {}
    for weight in (0.0, 1.0):
        values = {**TINY, "steps": 25, "jacobian_weight": weight, "clean_share": 0.0}
        (progress,) = PAE.fit(data, values, Context(rungs=1))
        distance[weight] = progress.diagnostics["jacobian_distance"]
    assert distance[1.0] < 0.5 * distance[0.0]


def found_by(network, count: int = 4):  # type: ignore[no-untyped-def]
    clean = normals(count).float() / 255
    recipe = CorruptionRecipe(texture_self_share=0.0)
    draw = recipe.draw(count, SIZE, generator(2))
    bank = TextureSources(normals(3), None, count=4).bank(generator(3))
    directions = torch.randn(clean.shape, generator=generator(4))
    return (
        diagnose(network, network, clean, draw=draw, bank=bank, directions=directions),
        clean,
        draw,
        bank,
    )


def test_diagnostics_of_maps_that_are_known() -> None:
    names = {"identity_residual", "idempotency_residual", "jacobian_distance"}
    names |= {f"contraction_{percent}" for percent in (25, 50, 100)}
    found = found_by(lambda x: x)[0]
    assert set(found) == names
    assert found["identity_residual"] == found["idempotency_residual"] == 0
    assert all(found[f"contraction_{p}"] == pytest.approx(1) for p in (25, 50, 100))
    assert found["jacobian_distance"] < 1e-3

    found, clean, draw, bank = found_by(lambda x: 0.5 * x)
    length = float(clean.square().mean().sqrt())
    assert found["identity_residual"] == pytest.approx(0.5 * length, rel=1e-4)
    opaque = apply(clean, dataclasses.replace(draw, opacity=torch.ones(4)), bank)[0]
    expected = 0.25 * float(opaque.square().mean().sqrt())
    assert found["idempotency_residual"] == pytest.approx(expected, rel=1e-4)
    moved, before = 0.5 * opaque - clean, opaque - clean
    ratio = float((moved.square().sum() / before.square().sum()).sqrt())
    assert found["contraction_100"] == pytest.approx(ratio, rel=1e-4)
    # the directions' own length, by the law of large numbers
    assert found["jacobian_distance"] == pytest.approx(0.5, rel=0.05)


def test_a_perfect_projection_contracts_to_nothing() -> None:
    clean = normals(4).float() / 255
    found = found_by(lambda x: clean[: len(x)])[0]
    assert found["identity_residual"] == found["contraction_25"] == found["contraction_100"] == 0


def test_every_rung_reports_and_looks_at_a_hundredth_of_the_training(data: TrialData) -> None:
    progress = list(FAE.fit(data, {**TINY, "steps": 6}, Context(rungs=2)))
    again = list(FAE.fit(data, {**TINY, "steps": 6}, Context(rungs=2)))
    assert [p.diagnostics for p in progress] == [p.diagnostics for p in again]
    assert all(math.isfinite(v) for p in progress for v in p.diagnostics.values())
    assert len(OPACITIES) == 3
    assert image_count(400, 16, 4, 19) == 5
    assert image_count(20_000, 8, 4, 1000) == 32
    assert image_count(1, 1, 4, 19) == 1 and image_count(20_000, 8, 4, 3) == 3


def test_a_network_that_broke_in_its_last_step_is_no_detector(data: TrialData) -> None:
    training = Training(data, complete(FAE.hyperparameters, TINY), Context())
    training.step()
    with torch.no_grad():
        training.network.out.bias.fill_(math.nan)
    with pytest.raises(Diverged, match="not finite after step 1"):
        training.detector()


def test_pae_is_the_family_without_noise() -> None:
    names = [p.name for p in FAE.hyperparameters]
    assert [p.name for p in PAE.hyperparameters] == names
    ours, theirs = complete(FAE.hyperparameters, {}), complete(PAE.hyperparameters, {})
    assert {n for n in names if ours[n] != theirs[n]} == {"noise_target"}
    assert (theirs["noise_target"], theirs["discrepancy"], theirs["mask_weight"]) == (
        "none", "ssim", 0.5,
    )  # fmt: skip
    assert not {n for n in load_search_space("pae").training if n.startswith("noise")}
