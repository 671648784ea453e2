"""Discrepancy, smoothing, pooling and the scoring grid against direct computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.covariance import LedoitWolf

from methods.scoring.density import fit, shrinkage
from methods.scoring.discrepancy import DISCREPANCIES, gms, mse, msgms, ssim
from methods.scoring.normalisation import (
    MapStatistics,
    border_pixels,
    left_out,
    packed,
    unpacked,
)
from methods.scoring.pipeline import SCORING, TIER, grid_scores, maps, measured, scores
from methods.scoring.pooling import background, pool, scattered, top_count
from methods.scoring.selection import largest, order_statistic
from methods.scoring.smoothing import kernel_pixels, mean_filter, smooth
from methods.scoring.tier import MapPlan, expand, judged
from methods.scoring.windows import weighted_window


def pair(count: int = 3, height: int = 16, width: int = 20, seed: int = 0, noise: float = 0.1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, height, width, generator=generator, dtype=torch.float64)
    shift = torch.randn(images.shape, generator=generator, dtype=torch.float64)
    return images, (images + noise * shift).clamp(0, 1)


# ------------------------------------------------------------------ discrepancy


def ssim_directly(x: np.ndarray, y: np.ndarray, row: int, column: int, size: int = 11) -> float:
    """SSIM of one pixel of one channel by its definition."""
    r = size // 2
    offsets = np.arange(size) - r
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(line, line) / line.sum() ** 2
    px = np.pad(x, r, mode="reflect")[row : row + size, column : column + size]
    py = np.pad(y, r, mode="reflect")[row : row + size, column : column + size]
    mx, my = (weights * px).sum(), (weights * py).sum()
    vx, vy = (weights * (px - mx) ** 2).sum(), (weights * (py - my) ** 2).sum()
    vxy = (weights * (px - mx) * (py - my)).sum()
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))


@pytest.mark.parametrize(("row", "column"), [(0, 0), (7, 9), (15, 79), (3, 66)])
def test_ssim_is_its_definition(row, column):
    x, y = pair(1, 16, 80)  # wider than one block of columns
    expected = [ssim_directly(x[0, c].numpy(), y[0, c].numpy(), row, column) for c in range(3)]
    assert ssim(x, y)[0, row, column].item() == pytest.approx((1 - np.mean(expected)) / 2, abs=1e-9)


def test_ssim_of_a_near_copy_keeps_its_digits():
    x, shift = pair(1, 16, 20)[0], torch.randn(1, 3, 16, 20, dtype=torch.float64)
    y = x + 1e-5 * shift
    exact = ssim(x, y)
    assert float(exact.max()) < 1e-7  # below the spacing of float32 numbers at 1
    torch.testing.assert_close(ssim(x.float(), y.float()).double(), exact, rtol=0.05, atol=1e-12)


def test_ssim_of_two_constants_by_hand():
    # No variance: SSIM = (2ab + C1) / (a^2 + b^2 + C1).
    x, y = torch.full((1, 3, 12, 12), 0.2), torch.full((1, 3, 12, 12), 0.6)
    expected = (1 - (2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4)) / 2
    assert torch.allclose(ssim(x, y), torch.full((1, 12, 12), expected), atol=5e-5)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 9), (1, 1), (2, 30)])
def test_small_images_take_a_smaller_ssim_window(height, width):
    x, y = pair(1, height, width)
    size = min(11, 2 * min(height, width) - 1)
    expected = np.mean(
        [ssim_directly(x[0, c].numpy(), y[0, c].numpy(), 0, 0, size) for c in range(3)]
    )
    assert ssim(x, y)[0, 0, 0].item() == pytest.approx((1 - expected) / 2, abs=1e-9)


def gms_directly(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    def gradient(grey: np.ndarray) -> np.ndarray:
        smooth = np.pad(ndimage.median_filter(grey, 3, mode="nearest"), 1, mode="edge")
        kernel = np.array([[1, 0, -1], [1, 0, -1], [1, 0, -1]]) / 3
        gx = ndimage.correlate(smooth, kernel)[1:-1, 1:-1]
        gy = ndimage.correlate(smooth, kernel.T)[1:-1, 1:-1]
        return np.sqrt(gx**2 + gy**2)

    a, b = gradient(x.mean(0)), gradient(y.mean(0))
    return 1 - (2 * a * b + 0.0026) / (a**2 + b**2 + 0.0026)


def test_gms_is_its_definition():
    x, y = pair(2)
    for i in range(2):
        expected = gms_directly(x[i].numpy(), y[i].numpy())
        assert np.allclose(gms(x, y)[i].numpy(), expected, atol=1e-10)


def test_gms_of_a_ramp_against_a_flat_image_by_hand():
    # A ramp of 0.01 a pixel has the Prewitt gradient 0.02 inside; the flat image has none.
    ramp = (torch.arange(9, dtype=torch.float64) * 0.01).expand(1, 3, 9, 9)
    error = gms(ramp, torch.full_like(ramp, 0.5))
    assert error[0, 4, 4].item() == pytest.approx(1 - 0.0026 / (0.02**2 + 0.0026), abs=1e-12)


def test_msgms_is_the_mean_over_scales():
    x, y = pair(1, 8, 8)

    def halve(z: torch.Tensor) -> torch.Tensor:
        return z.reshape(1, 4, 2, 4, 2).mean((2, 4))

    def error(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        ga, gb = [
            torch.from_numpy(
                np.hypot(
                    *(
                        ndimage.correlate(np.pad(z[0].numpy(), 1, mode="edge"), k / 3)[1:-1, 1:-1]
                        for k in (
                            np.array([[1, 0, -1]] * 3),
                            np.array([[1, 0, -1]] * 3).T,
                        )
                    )
                )
            )
            for z in (a, b)
        ]
        return 1 - (2 * ga * gb + 0.0026) / (ga**2 + gb**2 + 0.0026)

    grey = [
        torch.from_numpy(ndimage.median_filter(z[0].mean(0).numpy(), 3, mode="nearest"))[None]
        for z in (x, y)
    ]
    coarse = error(halve(grey[0]), halve(grey[1]))
    up = torch.nn.functional.interpolate(coarse[None, None], (8, 8), mode="bilinear")[0]
    expected = (torch.from_numpy(gms_directly(x[0].numpy(), y[0].numpy())) + up) / 2
    assert torch.allclose(msgms(x, y), expected, atol=1e-10)


def test_mse_by_hand():
    x, y = torch.zeros(1, 3, 1, 2), torch.zeros(1, 3, 1, 2)
    y[0, :, 0, 1] = torch.tensor([0.3, 0.0, 0.6])
    assert torch.allclose(mse(x, y), torch.tensor([[[0.0, (0.09 + 0.36) / 3]]]))


@pytest.mark.parametrize("name", sorted(DISCREPANCIES))
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 5), (33, 48)])
def test_discrepancies_are_bounded_and_vanish_on_a_perfect_copy(name, shape):
    x, y = pair(2, *shape, noise=0.5)
    error = DISCREPANCIES[name](x, y)
    assert error.shape == (2, *shape)
    assert torch.isfinite(error).all() and error.min() >= 0 and error.max() <= 1
    assert DISCREPANCIES[name](x, x.clone()).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["mse", "ssim"])
def test_losses_made_of_a_discrepancy_have_its_gradient(name):
    x, y = pair(1, 6, 6)
    y.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: DISCREPANCIES[name](x, z).mean(), (y,))


# ------------------------------------------------------------------ smoothing and pooling


@pytest.mark.parametrize("size", [1, 3, 5, 7, 9, 11, 13, 15])
def test_mean_filter_is_the_mirrored_mean(size):
    image = pair(1)[0][0]
    expected = ndimage.uniform_filter(image.numpy(), (0, size, size), mode="mirror")
    assert np.allclose(mean_filter(image, size).numpy(), expected, atol=1e-12)


def test_smoothing_repeats_the_filter_and_keeps_constants():
    image = pair(1)[0][0]
    assert torch.equal(smooth(image, 0, 5), image)
    assert torch.equal(smooth(image, 2, 5), mean_filter(mean_filter(image, 5), 5))
    flat = torch.full((1, 9, 9), 0.3)
    assert torch.allclose(smooth(flat, 4, 3), flat)


def test_smoothing_widens_an_impulse_as_promised():
    impulse = torch.zeros(1, 41, 41, dtype=torch.float64)
    impulse[0, 20, 20] = 1
    spread = smooth(impulse, 3, 5)[0].sum(0)
    position = torch.arange(41) - 20
    assert float((spread * position**2).sum()) == pytest.approx(3 * (25 - 1) / 12)


@pytest.mark.parametrize("size", [0, 2, -1])
def test_even_filters_are_refused(size):
    with pytest.raises(ValueError, match="odd"):
        mean_filter(torch.zeros(1, 9, 9), size)


def test_a_filter_wider_than_the_map_is_refused():
    with pytest.raises(ValueError, match="smaller window"):
        mean_filter(torch.zeros(1, 3, 3), 9)


@pytest.mark.parametrize(
    ("fraction", "side", "expected"),
    [(11 / 256, 256, 11), (11 / 256, 512, 21), (11 / 256, 64, 3), (1 / 256, 64, 1), (0.25, 64, 15)],
)
def test_kernel_is_the_nearest_odd_number_of_pixels(fraction, side, expected):
    assert kernel_pixels(fraction, side, 2 * side) == expected


def test_poolings_by_hand():
    values = torch.arange(400, dtype=torch.float64).reshape(1, 20, 20)
    assert pool(values, "sum").item() == 399 * 400 / 2
    assert pool(values, "max").item() == 399
    assert top_count(400) == 2 and pool(values, "topk").item() == 398.5
    assert pool(values, "topk_relative").item() == 398.5 - 199
    assert pool(values, "topk_ratio").item() == 398.5 / 199
    assert top_count(1) == 1 and top_count(4096) == 21


def test_relative_pooling_ignores_a_lifted_map():
    values = torch.rand(2, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    lifted = pool(values + 0.4, "topk_relative")
    assert torch.allclose(lifted, pool(values, "topk_relative"))
    stretched = pool(values * 3, "topk_ratio")
    assert torch.allclose(stretched, pool(values, "topk_ratio"))
    assert bool(pool(values * 0, "topk_ratio").eq(0).all())


@pytest.mark.parametrize("kind", ["random", "ties", "constant", "skewed", "ramp"])
@pytest.mark.parametrize("length", [1, 2, 5, 400, 4096, 5000])
def test_selections_are_exact(kind, length):
    values = torch.rand(7, length, generator=torch.Generator().manual_seed(length))
    if kind == "ties":
        values = (values * 4).floor()
    elif kind == "constant":
        values = torch.full_like(values, 0.25)
    elif kind == "skewed":
        values = values**30
    elif kind == "ramp":
        values = values.sort(1).values
    ordered = values.sort(1).values
    middle = (length - 1) // 2
    assert torch.equal(order_statistic(values, middle), ordered[:, middle])
    count = top_count(length)
    assert torch.equal(largest(values, count).sort(1).values, ordered[:, length - count :])


@pytest.mark.parametrize("kind", ["random", "ties", "constant"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (5, 7), (32, 32), (16, 64)])
def test_background_of_a_small_map_is_its_median(kind, shape):
    values = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    values = {"random": values, "ties": (values * 3).floor(), "constant": values * 0 + 2}[kind]
    expected = values.flatten(1).median(1).values
    assert torch.equal(background(values), expected)


@pytest.mark.parametrize("shape", [(64, 64), (33, 40), (256, 90)])
def test_scattered_pixels_cover_the_map_evenly(shape):
    chosen = scattered(*shape)
    assert len(chosen.unique()) > 500 - 200 * (shape == (33, 40))
    rows, columns = chosen // shape[1], chosen % shape[1]
    cells = (rows * 8 // shape[0]) * 8 + columns * 8 // shape[1]
    assert cells.bincount(minlength=64).min() >= 5 and cells.bincount().max() <= 11


def test_background_of_a_large_map_is_near_its_median():
    noise = torch.rand(4, 160, 128, generator=torch.Generator().manual_seed(0))
    values = smooth(noise, 2, 3)
    spread = values.flatten(1).std(1)
    error = background(values) - values.flatten(1).median(1).values
    assert (error.abs() < 0.2 * spread).all()
    # A defect of 3 % of the map does not move it.
    values = values.clone()
    values[:, 40:60, 40:70] += 5
    moved = background(values) - values.flatten(1).median(1).values
    assert (moved.abs() < 0.2 * spread).all()


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="topk_relative"):
        pool(torch.zeros(1, 2, 2), "mean")


# ------------------------------------------------------------------ the grid


def full_grid():
    return expand(
        SCORING,
        {
            "discrepancy": ["mse", "ssim", "gms", "msgms"],
            "smoothing_passes": [0, 1, 3],
            "smoothing_size": [0.05, 0.1, 0.2],
            "pooling": ["sum", "max", "topk", "topk_relative", "topk_ratio"],
        },
    )


def test_grid_leaves_out_what_means_the_same():
    grid = full_grid()
    assert len(grid) == 4 * (1 + 2 * 3) * 5
    assert len(expand(SCORING, {})) == 1
    default = {p.name: p.default for p in SCORING}
    assert (
        expand(SCORING, {})[0]
        == default
        == {
            "discrepancy": "ssim",
            "smoothing_passes": 2,
            "smoothing_size": 11 / 256,
            "pooling": "sum",
        }
    )
    assert all(p.tier == "scoring" for p in SCORING)


@pytest.mark.parametrize(
    "values", [{"smoothing": [1]}, {"smoothing_passes": [9]}, {"pooling": []}, {"pooling": ["p"]}]
)
def test_bad_grids_are_refused(values):
    with pytest.raises(ValueError, match=r"smoothing|pooling"):
        expand(SCORING, values)


def test_grid_equals_one_setting_at_a_time():
    x, y = pair(5, 40, 52)
    x, y = x.float(), y.float()
    grid = full_grid()
    together = grid_scores(x, y, grid)
    one_by_one = torch.stack([scores(x, y, setting) for setting in grid])
    assert together.shape == (len(grid), 5)
    assert torch.allclose(together, one_by_one, rtol=1e-5, atol=1e-6)


def normalised_grid():
    return expand(
        TIER,
        {
            "discrepancy": ["mse", "ssim", "msgms"],
            "smoothing_passes": [0, 2],
            "pooling": ["sum", "topk", "top5", "topk_relative", "topk_ratio"],
            "map_normalisation": ["none", "ratio", "z"],
            "border": [0.0, 0.1],
        },
    )


def test_a_normalised_grid_equals_one_setting_at_a_time(monkeypatch):
    x, y = (part.float() for part in pair(5, 24, 20))
    statistics = measured(*pair(9, 24, 20, seed=1))
    grid = normalised_grid()
    # Of z maps, the ratio to the median is the distance from it: one setting less.
    assert len(grid) == 3 * 2 * (5 + 5 + 4) * 2
    together = grid_scores(x, y, grid, statistics)
    one_by_one = torch.stack([scores(x, y, setting, statistics) for setting in grid])
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr("methods.scoring.pipeline._PART_PIXELS", 2 * 24 * 20)
    torch.testing.assert_close(grid_scores(x, y, grid, statistics), together, rtol=1e-4, atol=1e-5)


def test_normalisation_by_hand():
    # Held-out maps of 0 and 2 everywhere but 10 and 14 in a quarter that the 3 x 3 mean leaves
    # whole in its middle: mean 1 and spread 1, and there mean 12 and spread 2.
    maps = torch.tensor([0.0, 2.0])[:, None, None].repeat(1, 16, 16)
    maps[:, 8:, 8:] = torch.tensor([10.0, 14.0])[:, None, None]
    found = MapStatistics.measured(maps)
    assert found.mean[2, 2] == found.spread[2, 2] == 1
    assert found.mean[12, 12] == 12 and found.spread[12, 12] == 2
    probe = torch.full((1, 16, 16), 6.0)
    assert torch.equal(found(probe, "none"), probe)
    assert found(probe, "ratio")[0, 2, 2] == 6 and found(probe, "ratio")[0, 12, 12] == 0.5
    assert found(probe, "z")[0, 2, 2] == 5 and found(probe, "z")[0, 12, 12] == -3
    # A tenth of the maps' mean level and spread is the least that a place is divided by.
    quiet = torch.zeros(2, 16, 16)
    quiet[1, :8] = 8.0
    found = MapStatistics.measured(quiet)
    assert found.mean[12, 12].item() == pytest.approx(0.1 * 2.0, rel=0.1)
    assert found.spread[12, 12].item() == pytest.approx(0.1 * 2.0, rel=0.1)


@pytest.mark.parametrize("maps", [torch.zeros(3, 8, 8), torch.full((1, 8, 8), 0.5)])
def test_normals_without_spread_give_finite_maps(maps):
    found = MapStatistics.measured(maps)
    for kind in ("ratio", "z"):
        assert found(torch.ones(2, 8, 8), kind).sum().isfinite()
        assert bool(found(maps, kind).le(1.001).all())


@pytest.mark.parametrize("kind", ["ratio", "z"])
def test_a_held_out_normal_takes_no_part_in_its_own_normalisation(kind):
    normals = torch.rand(7, 12, 9, generator=torch.Generator().manual_seed(0)) ** 3
    found = unpacked(packed({"mse": MapStatistics.measured(normals)}))["mse"]
    with left_out():
        own = found(normals, kind)
    for place, row in enumerate(own):
        others = MapStatistics.measured(torch.cat((normals[:place], normals[place + 1 :])))
        torch.testing.assert_close(row, others(normals[place : place + 1], kind)[0])
    # New images are compared with all normals, before and after.
    assert not torch.allclose(own, found(normals, kind))
    # What an earlier version kept, or a single normal, says nothing without itself.
    for few in (MapStatistics(found.mean, found.spread), MapStatistics.measured(normals[:1])):
        with left_out():
            kept = few(normals, kind)
        assert torch.equal(kept, few(normals, kind))


@pytest.mark.parametrize(
    ("share", "shape", "expected"),
    [(0.0, (9, 9), (0, 0)), (0.0625, (64, 64), (4, 4)), (0.25, (8, 12), (2, 3)),
     (0.25, (2, 3), (0, 1)), (0.25, (1, 1), (0, 0))],
)  # fmt: skip
def test_a_border_is_left_out_of_the_score(share, shape, expected):
    assert border_pixels(share, *shape) == expected
    rows, columns = expected
    raw = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    plan = MapPlan("mse", "none", 0, 1, expected, "sum")
    found, shown = judged(raw, plan, {})
    within = raw[:, rows : shape[0] - rows, columns : shape[1] - columns]
    torch.testing.assert_close(found, within.sum((1, 2)))
    assert shown.shape == raw.shape
    assert torch.equal(shown[:, 0, 0], within[:, 0, 0])
    assert torch.equal(shown[:, rows : shape[0] - rows, columns : shape[1] - columns], within)


def test_a_normalisation_without_statistics_is_refused():
    x, y = pair(2)
    with pytest.raises(ValueError, match=r"map_normalisation is 'z', but .* for 'ssim' maps"):
        scores(x, y, {"map_normalisation": "z"})


def test_grid_does_not_depend_on_how_images_are_parted(monkeypatch):
    x, y = pair(7, 16, 16)
    whole = grid_scores(x, y, full_grid())
    monkeypatch.setattr("methods.scoring.pipeline._PART_PIXELS", 2 * 256)
    assert torch.allclose(grid_scores(x, y, full_grid()), whole, atol=1e-12)


def test_scores_pool_the_maps_that_a_person_sees():
    x, y = pair(2, 24, 24)
    setting = {"discrepancy": "gms", "smoothing_passes": 1, "smoothing_size": 0.2}
    shown = maps(x, y, setting)
    assert shown.shape == (2, 24, 24)
    expected = ndimage.uniform_filter(gms(x, y).numpy(), (0, 5, 5), mode="mirror")
    assert np.allclose(shown.numpy(), expected, atol=1e-12)
    assert torch.allclose(scores(x, y, setting), shown.sum((1, 2)))


@pytest.mark.parametrize("fill", [0.0, 1.0, 0.5, 1e30, -1e30])
def test_no_score_of_finite_images_is_nan_or_infinite(fill):
    flat = torch.full((2, 3, 16, 16), 0.5)
    for reconstruction in (flat, torch.full_like(flat, fill), flat.to(torch.bfloat16)):
        assert torch.isfinite(grid_scores(flat, reconstruction, full_grid())).all()


def test_scoring_keeps_no_gradient_and_leaves_its_input_alone():
    x, y = pair(2)
    before = y.clone()
    y.requires_grad_()
    assert not grid_scores(x, y, full_grid()).requires_grad
    assert torch.equal(y.detach(), before)


def test_images_and_reconstructions_must_match():
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        scores(torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 9), {})


def test_a_local_defect_scores_higher_under_every_setting():
    clean = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    noisy = clean + 0.01 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    damaged = clean.clone()
    damaged[..., 10:16, 12:20] = 1.0
    images = torch.cat((clean, damaged))
    # A wide filter spreads a defect over its own background, so that their ratio may fall.
    grid = [setting for setting in full_grid() if setting["pooling"] != "topk_ratio"]
    values = grid_scores(images, torch.cat((noisy, noisy)), grid)
    assert (values[:, 1] > values[:, 0]).all()


# ------------------------------------------------------------------ density


@pytest.mark.parametrize(("count", "width"), [(40, 7), (20, 50), (30, 1)])
def test_precision_is_that_of_ledoit_and_wolf(count, width):
    generator = torch.Generator().manual_seed(count)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64)
    z = torch.randn(count, width, generator=generator, dtype=torch.float64) @ mix
    reference = LedoitWolf().fit(z.numpy())
    density = fit(z)
    assert shrinkage(z)[1] == pytest.approx(reference.shrinkage_, abs=1e-10)
    assert np.allclose(density.precision.numpy(), reference.precision_, rtol=1e-8)
    assert np.allclose(density.mahalanobis(z).square().numpy(), reference.mahalanobis(z.numpy()))


def test_likelihood_of_a_known_gaussian():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(200, 3, generator=generator, dtype=torch.float64) * 2 + 1
    density = fit(z)
    reference = torch.distributions.MultivariateNormal(
        density.mean, precision_matrix=density.precision
    )
    assert torch.allclose(density.nll(z), -reference.log_prob(z))
    assert torch.equal(density.nll(z).argsort(), density.mahalanobis(z).argsort())


def test_density_of_identical_embeddings_is_finite():
    density = fit(torch.ones(4, 3))
    probe = torch.rand(5, 3)
    assert torch.isfinite(density.mahalanobis(probe)).all()
    assert torch.isfinite(density.nll(probe)).all()


@pytest.mark.parametrize("bad", [torch.zeros(1, 3), torch.zeros(3), torch.full((3, 2), math.nan)])
def test_density_refuses_what_it_cannot_fit(bad):
    with pytest.raises(ValueError, match="embeddings"):
        fit(bad)


def test_windows_are_kept_by_number_format_and_device():
    weights = (0.25, 0.5, 0.25)
    single = torch.rand(2, 9, 9)
    weighted_window(single, weights)
    double = weighted_window(single.double(), weights)
    assert double.dtype == torch.float64
    expected = ndimage.correlate1d(
        ndimage.correlate1d(single.double().numpy(), weights, 1, mode="mirror"),
        weights, 2, mode="mirror",
    )  # fmt: skip
    assert np.allclose(double.numpy(), expected, atol=1e-15)
    assert weighted_window(single, weights).dtype == torch.float32


def test_what_is_kept_from_inference_serves_gradients_later() -> None:
    images = torch.rand(2, 3, 23, 29, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ssim(images, images.flip(0))
        pool(images[:, 0], "topk_relative")
    leaf = images.clone().requires_grad_()
    ssim(leaf, images.flip(0)).sum().backward()
    assert leaf.grad is not None and bool(torch.isfinite(leaf.grad).all())
