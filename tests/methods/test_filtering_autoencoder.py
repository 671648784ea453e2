import copy
import math

import pytest
import torch
from torch import nn

from methods.contract import Context, Diverged, TrialData
from methods.corruption.hyperparameters import CORRUPTION
from methods.filtering_autoencoder.augmentation import augment, turned
from methods.filtering_autoencoder.projection import PROJECTION
from methods.filtering_autoencoder.training import Training
from methods.hyperparameter import complete
from methods.registry import get_method
from methods.scoring.pipeline import TIER
from methods.training.embedding import Standardiser, blocks
from methods.training.loss import filtering_loss
from methods.training.schedule import Plateau, cosine, warm_up
from tests.methods.ranks import on_two_ranks

FAE = get_method("fae")
TINY = {"width": 4, "batch_size": 4, "steps": 6, "learning_rate": 2e-3}
SCORINGS = [
    {"discrepancy": "mse", "pooling": "max"},
    {"discrepancy": "ssim", "pooling": "sum"},
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def waves(count, seed, size=32):
    """Stripes of random phase: a texture that a small network can learn."""
    phase = 2 * math.pi * torch.rand(count, 1, 1, generator=generator(seed))
    line = torch.arange(size) * (2 * math.pi / 8)
    images = 0.5 + 0.3 * torch.sin(line + phase).expand(count, size, size)
    return (255 * images[:, None].expand(-1, 3, -1, -1)).to(torch.uint8)


@pytest.fixture(scope="module")
def data():
    return TrialData(waves(12, 0), waves(4, 1), waves(6, 2))


def run(data, context=None, **values):
    return list(FAE.fit(data, {**TINY, **values}, context or Context(rungs=2)))


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_loss_against_hand_computation():
    output = torch.tensor([[[[1.0, 0.0], [0.5, 0.2]]]]).expand(1, 3, 2, 2)
    target = torch.tensor([[[[0.0, 0.0], [0.0, 0.0]]]]).expand(1, 3, 2, 2)
    mask = torch.tensor([[[[1.0, 0.0], [0.5, 0.25]]]])
    # squared errors over three channels: 3, 0, 0.75, 0.12
    inside = (1 * 3 + 0.25 * 0.75 + 0.0625 * 0.12) / (3 * 1.75)
    outside = (0.25 * 0.75 + 0.5625 * 0.12) / (3 * 2.25)
    loss = filtering_loss(output, target, mask, 0.3)
    assert loss.shape == (1,)
    assert loss.item() == pytest.approx(0.7 * outside + 0.3 * inside, rel=1e-6)


def test_loss_without_and_under_a_full_mask():
    output, target = torch.rand(2, 2, 3, 8, 8, generator=generator())
    mean = (output - target).square().flatten(1).mean(dim=1)
    empty, full = torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    torch.testing.assert_close(filtering_loss(output, target, empty, 0.4), 0.6 * mean)
    torch.testing.assert_close(filtering_loss(output, target, full, 0.4), 0.4 * mean)


def test_loss_is_guarded_where_the_mask_nearly_vanishes():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 0, 0] = 1e-20
    output = torch.ones(1, 3, 8, 8, requires_grad=True)
    filtering_loss(output, torch.zeros(1, 3, 8, 8), mask, 1.0).sum().backward()
    assert output.grad.isfinite().all()


def smooth_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4)).double()


def jacobian_and_laplacian(net, x):
    jacobian = torch.func.jacrev(net)(x)
    hessian = torch.func.hessian(net)(x)
    return jacobian, torch.einsum("iaa->i", hessian)


@pytest.mark.parametrize("anchored", [True, False])
def test_noise_expansion_by_monte_carlo(anchored):
    net, x = smooth_net(), torch.tensor([0.2, 0.7, 0.4, 0.9], dtype=torch.float64)
    target = torch.tensor([0.3, 0.1, 0.8, 0.5], dtype=torch.float64)
    jacobian, laplacian = jacobian_and_laplacian(net, x)
    residual = net(x) - target
    pull = jacobian - torch.eye(4) if anchored else jacobian
    sigma = 0.1
    expected = residual.square().sum() + sigma**2 * (pull.square().sum() + residual @ laplacian)
    half = torch.randn(200_000, 4, dtype=torch.float64, generator=generator(1))
    noise = sigma * torch.cat([half, -half])  # mirrored pairs cancel the odd orders
    with torch.no_grad():
        moved = net(x + noise) - target - (noise if anchored else 0)
    assert moved.square().sum(dim=1).mean().item() == pytest.approx(expected.item(), rel=1e-3)


def test_anchored_noise_keeps_the_jacobian_nearer_the_identity_than_a_clean_target():
    x = torch.rand(64, 4, dtype=torch.float64, generator=generator(2))
    distance = {}
    for target in ("anchored", "clean"):
        net = nn.Linear(4, 4).double()
        nn.init.eye_(net.weight)
        optimiser = torch.optim.Adam(net.parameters(), 0.02)
        draws = generator(3)
        for _ in range(200):
            noise = 0.3 * torch.randn(64, 4, dtype=torch.float64, generator=draws)
            aim = x + noise if target == "anchored" else x
            optimiser.zero_grad()
            (net(x + noise) - aim).square().mean().backward()
            optimiser.step()
        distance[target] = (net.weight - torch.eye(4)).norm().item()
    assert distance["anchored"] < 0.1 < distance["clean"]


@pytest.mark.parametrize("target", ["anchored", "clean", "none"])
def test_the_batch_carries_noise_where_the_target_says(data, target):
    values = complete(FAE.hyperparameters, {**TINY, "noise_target": target, "clean_share": 0.9})
    images, aim, mask = Training(data, values, Context(seed=1)).batch(0)
    plain = complete(FAE.hyperparameters, {**TINY, "noise_target": "none", "clean_share": 0.9})
    corrupted, clean, _ = Training(data, plain, Context(seed=1)).batch(0)
    noise = images - corrupted
    torch.testing.assert_close(aim - clean, noise if target == "anchored" else noise * 0)
    assert (noise.abs().max() > 0.01) == (target != "none")
    assert mask.shape == (4, 1, 32, 32)


def test_schedule():
    assert warm_up(0, 400) == pytest.approx(1 / 20) and warm_up(19, 400) == 1
    assert warm_up(499, 10**5) == 1 and warm_up(0, 1) == 1
    assert cosine(0, 10) == 1 and cosine(5, 10) == pytest.approx(0.5)
    assert cosine(10, 10) == pytest.approx(0)
    plateau = Plateau(patience=1)
    factors = []
    for loss in (3.0, 2.0, 2.5, 2.5, 1.0, 1.5, 1.5):
        plateau.look(loss)
        factors.append(plateau.factor)
    assert factors == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    assert Plateau.restore(plateau.state()) == plateau


def test_dihedral_reaches_all_eight_symmetries():
    image = torch.arange(9).view(1, 1, 3, 3)
    seen = augment(image.expand(400, 1, 3, 3), "dihedral", generator(0))
    assert len(torch.unique(seen.flatten(1), dim=0)) == 8
    flips = augment(image.expand(400, 1, 3, 3), "flips", generator(0))
    assert len(torch.unique(flips.flatten(1), dim=0)) == 4
    assert augment(image, "none", generator(0)) is image


def test_rotations_turn_and_flip_without_leaving_the_image():
    image = torch.arange(2 * 6 * 4, dtype=torch.uint8).view(1, 2, 6, 4).repeat(1, 2, 1, 1)[:, :3]
    half = turned(image, torch.tensor([math.pi]))
    assert torch.equal(half, image.flip(-1, -2))
    square = torch.arange(75, dtype=torch.uint8).view(1, 3, 5, 5)
    assert torch.equal(turned(square, torch.tensor([math.pi / 2])), square.rot90(1, (2, 3)))
    seen = augment(image.expand(50, -1, -1, -1), "rotations", generator(0))
    assert seen.dtype == torch.uint8 and len(torch.unique(seen.flatten(1), dim=0)) > 40
    assert int(seen.max()) <= int(image.max()), "the border is mirrored, nothing is made up"


def test_the_declaration_holds_all_four_parts():
    names = [p.name for p in FAE.hyperparameters]
    assert len(names) == len(set(names))
    assert {p.name for p in (*CORRUPTION, *TIER)} < set(names)
    defaults = complete(FAE.hyperparameters, {})
    assert (defaults["mask_weight"], defaults["learning_rate"]) == (0.5, 1e-4)
    scoring = {p.name for p in FAE.hyperparameters if p.tier == "scoring"}
    assert scoring == {p.name for p in (*TIER, *PROJECTION)}


def test_rungs_and_determinism(data):
    one, two = (run(data, Context(seed=4, rungs=3)) for _ in range(2))
    assert [p.rung for p in one] == [1, 2, 3]
    assert [p.train_loss for p in one] == [p.train_loss for p in two]
    assert same(one[-1].detector.weights(), two[-1].detector.weights())
    other = run(data, Context(seed=5, rungs=3))
    assert other[-1].train_loss != one[-1].train_loss
    assert not same(one[0].detector.weights(), one[-1].detector.weights())


def test_two_ranks_train_what_one_does(data):
    results = on_two_ranks(lambda context: run(data, context), seed=6, rungs=2)
    single = run(data, Context(seed=6, rungs=2))
    for rank in range(2):
        assert results[rank][-1].train_loss == pytest.approx(single[-1].train_loss, rel=1e-4)
        expected, found = single[-1].detector.weights(), results[rank][-1].detector.weights()
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-4)
    assert same(results[0][-1].detector.weights(), results[1][-1].detector.weights())


def test_divergence_names_value_and_step(data):
    state = run(data)[0].state()
    state["network"]["out.bias"].fill_(math.nan)
    with pytest.raises(Diverged, match="nan at step 4"):
        run(data, Context(rungs=2, resume=state))


def test_the_loss_falls_and_defects_stand_out(data):
    values = {"noise_target": "none", "clean_share": 0.0, "opaque_share": 1.0}
    values |= {"steps": 64, "batch_size": 8, "learning_rate": 1e-2, "schedule": "constant"}
    progress = run(data, Context(rungs=8), **values)
    assert progress[-1].train_loss < 0.6 * progress[0].train_loss
    clean = data.test.float() / 255
    spoilt = clean.clone()
    spoilt[:, :, 10:16, 10:16] = torch.tensor([0.9, 0.1, 0.1]).view(3, 1, 1)
    detector = progress[-1].detector
    assert detector.scores(spoilt, SCORINGS[0]).min() > detector.scores(clean, SCORINGS[0]).max()
    maps = detector.maps(spoilt, {"discrepancy": "mse", "smoothing_passes": 0})
    assert maps[:, 10:16, 10:16].mean() > 5 * maps.mean()


def test_restored_weights_give_the_same_answers(data):
    progress = run(data, skips=False, kernel=5)[-1]
    values = {**TINY, "skips": False, "kernel": 5}
    restored = FAE.restore(values, progress.detector.weights())
    images = data.test.float() / 255
    grids = [d.grid_scores(images, SCORINGS) for d in (progress.detector, restored)]
    assert torch.equal(*grids) and grids[0].shape == (2, 6)
    assert torch.equal(progress.detector.embed(images), restored.embed(images))
    assert torch.equal(progress.detector.scores(images, SCORINGS[1]), grids[0][1])


def test_detector_shapes_and_batching(data):
    detector = run(data)[-1].detector
    images = torch.rand(35, 3, 32, 32, generator=generator())
    result = detector.reconstruct(images)
    assert result.shape == images.shape and result.dtype == torch.float32
    assert result.min() >= 0 and result.max() <= 1 and not result.requires_grad
    torch.testing.assert_close(detector.reconstruct(images[33:]), result[33:])
    assert detector.embed(images).shape == (35, 4 * 4 + 18)
    assert detector.maps(images, SCORINGS[1]).shape == (35, 32, 32)


def test_a_rungs_detector_stays_as_it_was(data):
    images, fit = data.test.float() / 255, FAE.fit(data, TINY, Context(rungs=2))
    first = next(fit)
    before, state = first.detector.reconstruct(images), copy.deepcopy(first.state())
    list(fit)
    assert torch.equal(first.detector.reconstruct(images), before)
    assert same(first.state()["network"], state["network"])


def test_bfloat16_fit_gives_float32_answers(data):
    context = Context(rungs=1, precision="bfloat16", channels_last=True)
    progress = run(data, context)[-1]
    images = data.test.float() / 255
    assert progress.detector.embed(images).dtype == torch.float32
    restored = FAE.restore(TINY, progress.detector.weights())
    assert restored.precision == "bfloat16"
    difference = restored.reconstruct(images) - progress.detector.reconstruct(images)
    assert difference.abs().max() < 0.02


def test_both_blocks_of_the_embedding_have_unit_scale():
    features = 5 + 100 * torch.randn(40, 7, 2, 2, generator=generator())
    images, other = torch.rand(2, 40, 3, 16, 16, generator=generator(1))
    parts = blocks(features, images, other)
    scaled = Standardiser.measured(*parts)(*parts)
    for block in (scaled[:, :7], scaled[:, 7:]):
        torch.testing.assert_close(block.square().sum(dim=1).mean(), torch.tensor(1.0))
        assert block.mean(dim=0).abs().max() < 1e-4


def test_corrupt_and_families(data):
    clean, corrupted = FAE.corrupt(data, {"clean_share": 0.0}, 9, generator(1))
    again = FAE.corrupt(data, {"clean_share": 0.0}, 9, generator(1))
    assert torch.equal(clean, again[0]) and torch.equal(corrupted, again[1])
    assert clean.shape == corrupted.shape == (9, 3, 32, 32)
    changed = (clean != corrupted).flatten(1).float().mean(dim=1)
    assert (changed > 0).all() and (changed < 0.6).all()
    assert FAE.families({}) == {"blob", "stroke", "dots"}
    assert FAE.families({"dots_share": 0.0}) == {"blob", "stroke"}


def test_a_pool_of_textures_changes_what_is_seen(data):
    pool = torch.randint(0, 256, (5, 3, 50, 40), generator=generator()).to(torch.uint8)
    pooled = TrialData(data.train, data.held_out, data.test, pool)
    one = FAE.corrupt(data, {}, 8, generator(1))[1]
    two = FAE.corrupt(pooled, {}, 8, generator(1))[1]
    assert not torch.equal(one, two)


def test_what_does_not_fit_is_refused(data):
    odd = TrialData(*(torch.zeros(2, 3, 30, 32, dtype=torch.uint8) for _ in range(3)))
    with pytest.raises(ValueError, match="multiples of 8"):
        FAE.check(odd, {})
    wide = TrialData(*(torch.zeros(2, 3, 32, 40, dtype=torch.uint8) for _ in range(3)))
    with pytest.raises(ValueError, match="square"):
        FAE.check(wide, {"augmentation": "dihedral"})
    with pytest.raises(ValueError, match="blob_share"):
        FAE.check(data, {"blob_share": 0.0, "stroke_share": 0.0, "dots_share": 0.0})
    with pytest.raises(ValueError, match="learning_rate"):
        FAE.check(data, {"learning_rate": 3.0})
    with pytest.raises(ValueError, match="rungs, 7"):
        run(data, Context(rungs=7))
    with pytest.raises(ValueError, match="batch_size is 3"):
        run(data, Context(rungs=1, world_size=2), batch_size=3)
    one = TrialData(waves(1, 0), waves(1, 1), waves(1, 2))
    assert run(one, Context(rungs=1), steps=1)[0].train_loss > 0
