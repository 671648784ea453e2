"""Energy-based projection as a method: training, scoring grids, inpainting, faults."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from methods.contract import Context, Diverged, Progress, TrialData, unit
from methods.energy_projection.descent import ProjectionDiverged
from methods.energy_projection.detector import ProjectionDetector
from methods.energy_projection.model import KINDS, EnergyModel
from methods.energy_projection.settings import SCORING, normal_form, understand
from methods.energy_projection.training import Trainer
from methods.hyperparameter import complete
from methods.registry import get_method
from methods.scoring import pipeline

METHOD = get_method("energy-projection")
TINY: dict[str, Any] = {"width": 2, "code": 4, "batch_size": 4, "steps": 6, "learning_rate": 1e-3}
SIZE = (32, 32)


def waves(count: int, seed: int, size: tuple[int, int] = SIZE) -> Tensor:
    """Stripes of random phase with a little noise."""
    draws = torch.Generator().manual_seed(seed)
    phase = 2 * math.pi * torch.rand(count, 1, 1, 1, generator=draws)
    line = torch.arange(size[1]) * (2 * math.pi / 16)
    images = 0.6 + 0.2 * torch.sin(line + phase).expand(count, 3, *size)
    noise = 0.02 * torch.randn(count, 3, *size, generator=draws)
    return (255 * (images + noise).clamp(0, 1)).to(torch.uint8)


@pytest.fixture(scope="module")
def data() -> TrialData:
    test = waves(6, 2)
    test[3:, :, 8:16, 8:16] = 0
    return TrialData(waves(12, 0), waves(4, 1), test)


def run(data: TrialData, context: Context | None = None, **values: Any) -> list[Progress]:
    return list(METHOD.fit(data, {**TINY, **values}, context or Context(rungs=2)))


def trained(data: TrialData, **values: Any) -> ProjectionDetector:
    detector = run(data, Context(rungs=1), **values)[-1].detector
    assert isinstance(detector, ProjectionDetector)
    return detector


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize(("model", "tiles"), [(kind, 1) for kind in KINDS] + [("vae", 2)])
def test_the_same_seed_and_a_resumed_trial_give_the_same(
    data: TrialData, model: str, tiles: int
) -> None:
    values: dict[str, Any] = {"model": model, "tiles_per_side": tiles, "schedule": "cosine"}
    whole = run(data, Context(seed=2, rungs=3), **values)
    assert [p.rung for p in whole] == [1, 2, 3]
    first = next(METHOD.fit(data, {**TINY, **values}, Context(seed=2, rungs=3)))
    assert same(first.detector.weights(), whole[0].detector.weights())
    state = copy.deepcopy(first.state())
    resumed = run(data, Context(seed=2, rungs=3, resume=state), **values)
    assert [p.train_loss for p in resumed] == [p.train_loss for p in whole[1:]]
    assert [p.diagnostics for p in resumed] == [p.diagnostics for p in whole[1:]]
    assert same(resumed[-1].detector.weights(), whole[-1].detector.weights())
    assert not same(run(data, **values)[-1].detector.weights(), whole[-1].detector.weights())
    assert ("kl" in whole[0].diagnostics) == ("vae" in model)


@pytest.mark.parametrize("model", KINDS)
def test_a_restored_detector_gives_the_same(data: TrialData, model: str) -> None:
    detector, images = trained(data, model=model), unit(data.test)
    restored = METHOD.restore({**TINY, "model": model}, detector.weights())
    assert isinstance(restored, ProjectionDetector)
    setting: dict[str, Any] = {"iterations": 3, "step_size": 0.1}
    scores, maps = detector.scores(images, setting), detector.maps(images, setting)
    assert scores.shape == (6,) and maps.shape == (6, *SIZE) and not maps.requires_grad
    assert scores.isfinite().all() and maps.min() >= 0
    assert torch.equal(scores, restored.scores(images, setting))
    assert torch.equal(detector.embed(images), restored.embed(images))
    assert torch.equal(detector.project(images, setting), restored.project(images, setting))
    torch.testing.assert_close(detector.scores(images[1:2], setting), scores[1:2])
    assert detector.embed(images).shape == (6, TINY["code"])
    with torch.inference_mode():
        assert torch.equal(detector.maps(images, setting), maps)


@pytest.mark.parametrize("tiles", [1, 2])
def test_a_grid_scores_as_its_settings_one_by_one(data: TrialData, tiles: int) -> None:
    detector, images = trained(data, tiles_per_side=tiles), unit(data.test)
    grid = METHOD.expand_grid(
        {
            "score": [
                "projection",
                "projection-reconstruction",
                "reconstruction",
                "gradient",
                "kl-gradient-error",
            ],
            "iterations": [1, 4],
            "discrepancy": ["mse", "ssim"],
            "smoothing_passes": [0, 1],
        }
    )
    found = detector.grid_scores(images, grid)
    assert found.shape == (len(grid), 6) and found.isfinite().all()
    one_by_one = torch.stack([detector.scores(images, setting) for setting in grid])
    torch.testing.assert_close(found, one_by_one)
    assert len(found.unique(dim=0)) > 6


def test_one_walk_serves_a_grid(data: TrialData) -> None:
    detector, images = trained(data), unit(data.test)
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    detector.model.register_forward_hook(count)
    walk: dict[str, Any] = {"iterations": [2, 3, 7], "step_size": [1e-4]}
    grid = METHOD.expand_grid({**walk, "discrepancy": ["mse", "ssim"]})
    detector.grid_scores(images, grid)
    assert passes == 8  # seven steps, and a last look


def test_scores_against_the_pipeline(data: TrialData) -> None:
    detector, images = trained(data), unit(data.test)
    part: dict[str, Any] = {"discrepancy": "mse", "smoothing_passes": 1, "pooling": "max"}
    for score, other in (
        ("reconstruction", detector.reconstruct(images)),
        ("projection", detector.project(images, {"iterations": 2})),
    ):
        setting = {"score": score, "iterations": 2, **part}
        expected = pipeline.scores(images, other, part)
        torch.testing.assert_close(detector.scores(images, setting), expected)
        torch.testing.assert_close(
            detector.maps(images, setting), pipeline.maps(images, other, part)
        )


def test_settings_that_mean_the_same_are_one() -> None:
    grid = METHOD.expand_grid(
        {
            "score": ["projection", "reconstruction", "gradient"],
            "optimiser": ["plain", "adam"],
            "iterations": [5, 20],
            "adam_step_size": [0.01, 0.02],
            "discrepancy": ["ssim", "mse"],
        }
    )
    # plain: iterations x discrepancy; adam: times two step sizes; and 2 + 1 without a walk.
    assert len(grid) == 4 + 8 + 2 + 1
    assert all(normal_form(setting) == setting for setting in grid)
    assert normal_form({}) == complete(SCORING, {})
    assert understand({"optimiser": "adam"}).path != understand({}).path
    with pytest.raises(ValueError, match="unknown hyperparameter alpha"):
        METHOD.expand_grid({"alpha": [1.0]})


def test_projection_lowers_the_loss_and_stops_by_the_training_losses(data: TrialData) -> None:
    detector = trained(data, model="l2", steps=60, batch_size=8)
    images, walk = unit(data.test), {"step_size": 0.3, "l1_weight": 0.0, "update": "standard"}

    def losses(x: Tensor) -> Tensor:
        return detector.model.reconstruction_loss(x, detector.model(x))

    projected = detector.project(images, {**walk, "iterations": 30})
    assert (losses(projected) < losses(images)).all()
    smallest, largest = detector.threshold(0.0), detector.threshold(1.0)
    assert smallest == float(detector.losses.min()) and largest == float(detector.losses.max())
    early = detector.project(images, {**walk, "iterations": 30, "stop_quantile": 1.0})
    done = losses(images) <= largest
    assert torch.equal(early[done], images[done])
    assert (early[~done] != images[~done]).any()
    assert (losses(early) >= losses(projected) - 1e-4).all()


def test_inpainting_changes_the_mask_alone(data: TrialData) -> None:
    detector, images = trained(data, tiles_per_side=2, model="l2"), unit(data.test)
    mask = torch.zeros(6, 1, *SIZE)
    mask[:, :, 8:16, 8:20] = 1
    repaired = detector.inpaint(images, mask, {"iterations": 4, "l1_weight": 0.0})
    inside = mask.expand_as(images).bool()
    assert torch.equal(repaired[~inside], images[~inside])
    assert (repaired[inside] != images[inside]).any()
    assert torch.equal(
        detector.inpaint(images, mask[:1], {"iterations": 4, "l1_weight": 0.0}), repaired
    )
    blind = detector.inpaint(images, scoring={"iterations": 4})
    assert torch.equal(blind, detector.project(images, {"iterations": 4}))
    for wrong in (mask[:, :, :16], mask[:2], mask.expand(6, 3, *SIZE), mask[:, 0]):
        with pytest.raises(ValueError, match=r"mask is \[.*must be \[6, 1, 32, 32\]"):
            detector.inpaint(images, wrong)
    for value in (255.0, -0.5, math.nan):
        with pytest.raises(ValueError, match=r"mask holds values.*in \[0, 1\]"):
            detector.inpaint(images, mask * value)


def test_images_and_sizes_that_do_not_fit_are_refused(data: TrialData) -> None:
    odd = TrialData(*(waves(4, seed, (40, 32)) for seed in range(3)))
    with pytest.raises(ValueError, match=r"40 x 32.*multiples of 16"):
        METHOD.check(odd, TINY)
    with pytest.raises(ValueError, match="8 x 8 pixels"):
        METHOD.check(data, {**TINY, "tiles_per_side": 4})
    with pytest.raises(ValueError, match="number of rungs, 7"):
        run(data, Context(rungs=7))
    with pytest.raises(ValueError, match="multiple of the 3"):
        run(data, Context(rungs=1, world_size=3))
    with pytest.raises(ValueError, match="trained at 32 x 32"):
        trained(data).scores(unit(waves(2, 0, (16, 16))), {})
    with pytest.raises(ValueError, match="no KL term"):
        trained(data, model="dssim").scores(unit(data.test), {"score": "kl-gradient"})


def test_a_collapsed_variance_and_a_broken_network_are_errors(data: TrialData) -> None:
    state = run(data, model="gamma-vae")[0].state()
    state["network"]["log_gamma"].fill_(-7.0)
    with pytest.raises(Diverged, match=r"variance has collapsed: ln gamma is -[67].*floor -6"):
        run(data, Context(rungs=2, resume=state), model="gamma-vae")
    detector = trained(data)
    with torch.no_grad():
        next(detector.model.network.parameters()).fill_(math.nan)
    with pytest.raises(ProjectionDiverged, match=r"6 of 6 images.*before the first step"):
        detector.scores(unit(data.test), {"iterations": 2})
    for score in ("reconstruction", "gradient-error"):
        with pytest.raises(Diverged, match="score of 6 of 6 images is not a finite number"):
            detector.scores(unit(data.test), {"score": score})
        with pytest.raises(Diverged, match="map of 6 of 6 images is not a finite number"):
            detector.maps(unit(data.test), {"score": score})


@pytest.mark.parametrize("tiles", [1, 2])
def test_one_image_that_diverges_neither_fails_nor_changes_the_others(
    data: TrialData, tiles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, images = trained(data, model="l2", tiles_per_side=tiles), unit(data.test)
    assert detector.scoring_diagnostics() == {}
    grid = METHOD.expand_grid({"iterations": [2, 12], "l1_weight": [0.0, 0.05]})
    expected = detector.grid_scores(images, grid)
    evaluate = detector._evaluate
    hole = images.clone()
    hole[1, :, 0, 0] = 0.0

    def spoilt(parts: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient, not the loss, is not a number where a first pixel is black."""
        losses, reconstruction = evaluate(parts)
        return losses + 0 * parts[:, :, 0, 0].sqrt().sum(1), reconstruction

    monkeypatch.setattr(detector, "_evaluate", spoilt)
    found = detector.grid_scores(hole, grid)
    assert found.isfinite().all() and (found[:, 1] == found[0, 1]).all()
    others = [0, 2, 3, 4, 5]
    torch.testing.assert_close(found[:, others], expected[:, others])
    assert detector.scoring_diagnostics() == {
        "projections": 24.0,  # six images along two walks, twice
        "stalled_projections": 0.0,
        "diverged_projections": 2.0,
    }
    alone = torch.cat([detector.grid_scores(one[None], grid) for one in hole], 1)
    torch.testing.assert_close(alone, found)


def test_a_learned_variance_takes_the_steps_of_a_variance_of_one(data: TrialData) -> None:
    network, images = trained(data, model="vae").model.network, unit(data.test)
    walks = [
        ProjectionDetector(EnergyModel(kind, network, -2.0), SIZE, 1, torch.tensor([-1.0])).project(
            images, {"iterations": 4, "l1_weight": 0.0}
        )
        for kind in KINDS[2:]
    ]
    assert (walks[0] != images).any()
    torch.testing.assert_close(walks[0], walks[1])


def test_a_dssim_model_starts_at_the_mean_colour(data: TrialData) -> None:
    dark = TrialData(data.train // 8, data.held_out, data.test)
    values = complete(METHOD.hyperparameters, {**TINY, "model": "dssim"})
    for source in (data, dark):
        model, images = Trainer(source, values, Context()).model, unit(source.train)
        torch.testing.assert_close(
            model.network.up[-1].bias.sigmoid(), images.mean((0, 2, 3)), atol=1e-4, rtol=1e-4
        )


def test_images_all_alike_give_no_nan() -> None:
    flat = torch.full((4, 3, *SIZE), 128, dtype=torch.uint8)
    plain = TrialData(flat, flat[:2], flat)
    for model in KINDS:
        detector = trained(plain, model=model)
        for score in ("projection", "reconstruction", "gradient"):
            setting: dict[str, Any] = {"score": score, "iterations": 3}
            assert detector.scores(unit(flat), setting).isfinite().all()


def test_training_sees_crops_or_moved_images_and_learns(data: TrialData) -> None:
    whole = Trainer(data, complete(METHOD.hyperparameters, TINY), Context())
    crops = Trainer(
        data, complete(METHOD.hyperparameters, {**TINY, "tiles_per_side": 2}), Context()
    )
    assert whole.batch(0).shape == (4, 3, 32, 32) and crops.batch(0).shape == (4, 3, 16, 16)
    assert torch.equal(whole.batch(3), whole.batch(3))
    assert not torch.equal(whole.batch(3), whole.batch(4))
    for model in KINDS:
        progress = run(data, Context(rungs=4), model=model, steps=40, learning_rate=3e-3)
        assert progress[-1].train_loss < progress[0].train_loss


def test_workers_share_a_batch(data: TrialData) -> None:
    values = complete(METHOD.hyperparameters, {**TINY, "model": "vae"})
    alone = Trainer(data, values, Context())
    parts = [Trainer(data, values, Context(rank=r, world_size=2)) for r in range(2)]
    torch.testing.assert_close(torch.cat([p.batch(5) for p in parts]), alone.batch(5))
    mean = torch.stack([p.loss(5) for p in parts]).mean()
    torch.testing.assert_close(mean, alone.loss(5))


def test_bfloat16_trains_and_scores_stay_finite(data: TrialData) -> None:
    for model in KINDS:
        context = Context(rungs=1, precision="bfloat16", channels_last=True)
        progress = run(data, context, model=model)[-1]
        assert math.isfinite(progress.train_loss)
        assert progress.detector.scores(unit(data.test), {"iterations": 2}).isfinite().all()


def test_nothing_is_corrupted(data: TrialData) -> None:
    clean, corrupted = METHOD.corrupt(data, TINY, 5, torch.Generator().manual_seed(1))
    assert clean.shape == (5, 3, *SIZE) and torch.equal(clean, corrupted)
    assert METHOD.families(TINY) == frozenset()
