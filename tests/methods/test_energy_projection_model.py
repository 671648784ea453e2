"""The network's sizes, the four losses by hand, tiles, crops and single-gradient scores."""

from __future__ import annotations

import math

import pytest
import torch

from methods.energy_projection.gradients import gradient_map
from methods.energy_projection.model import LOG_GAMMA_FLOOR, EnergyModel, Sample, divergence
from methods.energy_projection.tiles import cut, move, random_crops, stitch, tile_size
from methods.networks.bergmann import BergmannAutoencoder, halvings
from methods.scoring.discrepancy import ssim


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_network_is_the_papers_at_its_size() -> None:
    # Bergmann et al., Table 1, for colour and a code of 100: counted by hand.
    assert sum(p.numel() for p in BergmannAutoencoder((128, 128)).parameters()) == 1_050_599


@pytest.mark.parametrize("size", [(16, 16), (32, 48), (256, 256)])
def test_any_size_that_the_halvings_divide(size: tuple[int, int]) -> None:
    network = BergmannAutoencoder(size, 2, 5)
    images = torch.rand(2, 3, *size)
    output = network(images)
    assert output.shape == images.shape and output.min() > 0 and output.max() < 1
    assert network.encode(images)[0].shape == (2, 5) and network.encode(images)[1] is None


def test_other_sizes_are_refused_with_those_that_fit() -> None:
    assert (halvings((64, 128)), halvings((256, 512))) == (4, 5)
    for size in ((40, 64), (272, 272), (0, 16)):
        with pytest.raises(ValueError, match=f"{size[0]} x {size[1]}.*multiples of 16"):
            halvings(size)


def test_the_same_seed_gives_the_same_network_and_the_variance_is_bounded() -> None:
    one, two, other = (BergmannAutoencoder((16, 16), 4, 6, True, seed) for seed in (1, 1, 2))
    images = torch.rand(1, 3, 16, 16)
    assert torch.equal(one(images), two(images)) and not torch.equal(one(images), other(images))
    with torch.no_grad():
        assert one.code.bias is not None
        one.code.bias.fill_(1e6)
    log_variance = one.encode(images)[1]
    assert log_variance is not None and (log_variance == 10).all()


def test_the_four_losses_by_hand() -> None:
    images, output = torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.3)
    values, total = 3 * 16 * 16, 3 * 16 * 16 * 0.04
    mean, log_variance = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, math.log(4.0)]])
    kl = 0.5 * (1 + (4 - 1 - math.log(4.0)))
    plain, coded = Sample(output, mean, None), Sample(output, mean, log_variance)
    gamma = 0.2
    expected = {
        "l2": total,
        "dssim": float(ssim(images, output).sum()),
        "vae": 0.5 * total + kl,
        "gamma-vae": total / (2 * gamma**2) + values * math.log(gamma) + kl,
    }
    for kind, value in expected.items():
        variational = "vae" in kind
        network = BergmannAutoencoder((16, 16), 2, 2, variational)
        model = EnergyModel(kind, network, math.log(gamma))  # type: ignore[arg-type]
        loss, found = model.training_loss(images, coded if variational else plain)
        assert loss.item() == pytest.approx(value, rel=1e-5)
        assert found.item() == pytest.approx(kl if variational else 0.0)
        assert model.log_gamma.requires_grad == (kind == "gamma-vae")


def test_the_energy_of_a_collapsed_variance_stays_finite() -> None:
    model = EnergyModel("gamma-vae", BergmannAutoencoder((16, 16), 2, 2, True), -500.0)
    images = torch.rand(2, 3, 16, 16, generator=generator())
    losses = model.reconstruction_loss(images, model(images))
    assert losses.isfinite().all()
    floor = EnergyModel("gamma-vae", model.network, LOG_GAMMA_FLOOR)
    assert torch.equal(losses, floor.reconstruction_loss(images, model(images)))


def test_the_divergence_is_never_negative_and_zero_at_the_prior() -> None:
    assert divergence(torch.zeros(1, 1), torch.zeros(1, 1)).item() == 0
    draws = torch.randn(2, 100, 3, generator=generator())
    assert divergence(draws[0], 3 * draws[1]).min() >= 0


def test_the_noise_of_the_code_is_scaled_by_its_deviation() -> None:
    network = BergmannAutoencoder((16, 16), 2, 3, True)
    model, images = EnergyModel("vae", network), torch.rand(2, 3, 16, 16, generator=generator())
    noise = torch.randn(2, 3, generator=generator(1))
    mean, log_variance = network.encode(images)
    assert log_variance is not None
    drawn = network.decode(mean + (0.5 * log_variance).exp() * noise)
    torch.testing.assert_close(model.sample(images, noise).output, drawn)
    torch.testing.assert_close(model.sample(images, None).output, network(images))


def test_tiles_go_together_again() -> None:
    images = torch.rand(2, 3, 8, 12, generator=generator())
    parts = cut(images, 2)
    assert parts.shape == (8, 3, 4, 6)
    assert torch.equal(parts[1], images[0, :, :4, 6:]) and torch.equal(
        parts[4], images[1, :, :4, :6]
    )
    assert torch.equal(stitch(parts, 2), images)
    assert tile_size((512, 512), 4) == (128, 128)
    with pytest.raises(ValueError, match="tiles_per_side 4 must divide"):
        tile_size((64, 66), 4)


def test_crops_are_parts_of_their_images() -> None:
    rows = torch.arange(8).view(1, 1, 8, 1) * 10 + torch.arange(9).view(1, 1, 1, 9)
    images = torch.cat([rows, rows + 100]).expand(2, 3, 8, 9)
    crops = random_crops(images, (4, 4), generator())
    for crop, offset in zip(crops, (0, 100), strict=True):
        top, left = divmod(int(crop[0, 0, 0]) - offset, 10)
        part = images[0, :, top : top + 4, left : left + 4] + offset
        assert torch.equal(crop, part)
    many = random_crops(images[:1].expand(200, 3, 8, 9), (4, 4), generator())[:, 0, 0, 0]
    assert len(many.unique()) == 5 * 6


def test_a_shift_moves_by_whole_pixels_and_no_motion_changes_nothing() -> None:
    images = torch.rand(1, 3, 16, 16, generator=generator())
    assert move(images, 0.0, 0.0, generator()) is images
    turned = move(images.expand(4, 3, 16, 16), 90.0, 0.0, generator())
    assert turned.shape == (4, 3, 16, 16) and turned.min() >= 0 and turned.max() <= 1
    again = move(images.expand(4, 3, 16, 16), 90.0, 0.0, generator())
    assert torch.equal(turned, again) and not torch.equal(turned[0], turned[1])
    flat = torch.full((3, 3, 16, 32), 0.25)
    torch.testing.assert_close(move(flat, 30.0, 0.2, generator()), flat)


def test_single_gradients_by_finite_differences() -> None:
    model = EnergyModel("vae", BergmannAutoencoder((16, 16), 2, 4, True, seed=2)).double()
    model.requires_grad_(False)
    images = torch.rand(1, 3, 16, 16, generator=generator(), dtype=torch.float64)

    def kl(x: torch.Tensor) -> float:
        mean, log_variance = model.network.encode(x)
        assert log_variance is not None
        return float(divergence(mean, log_variance).sum())

    def loss(x: torch.Tensor) -> float:
        return float(model.reconstruction_loss(x, model(x))) + kl(x)

    error = (images - model(images)).square()
    for name, function in (("gradient", loss), ("kl-gradient", kl)):
        row, column, step = 5, 9, 1e-6
        slopes = []
        for channel in range(3):
            nudge = torch.zeros_like(images)
            nudge[0, channel, row, column] = step
            slopes.append(abs(function(images + nudge) - function(images - nudge)) / (2 * step))
        weights = error[0, :, row, column].tolist()
        found = gradient_map(model, images, name)[0, row, column].item()
        assert found == pytest.approx(sum(slopes) / 3, rel=1e-4, abs=1e-7)
        found = gradient_map(model, images, f"{name}-error")[0, row, column].item()
        product = sum(s * w for s, w in zip(slopes, weights, strict=True)) / 3
        assert found == pytest.approx(product, rel=1e-4, abs=1e-9)


def test_a_model_without_kl_has_no_kl_score() -> None:
    model = EnergyModel("l2", BergmannAutoencoder((16, 16), 2, 4))
    with pytest.raises(ValueError, match="l2 has no KL term"):
        gradient_map(model, torch.rand(1, 3, 16, 16), "kl-gradient")
    assert gradient_map(model, torch.rand(1, 3, 16, 16), "gradient").shape == (1, 16, 16)
