"""CutDiff tuned by hypergradient through a frozen network."""

import copy

import pytest
import torch
from torch import Tensor

from methods.augmentation.cutdiff import CUTDIFF_SIGNED
from methods.backbones.features import Extractor
from methods.backbones.space import FeatureSpace
from methods.backbones.weights import load_backbone
from methods.contract import Context, Progress, TrialData, TuningMethod, unit
from methods.corruption.recipe import CorruptionRecipe
from methods.feature_autoencoder.network import GridAutoencoder
from methods.feature_autoencoder.training import Features, Training
from methods.hypergradient.corruption import TuningBatch
from methods.hyperparameter import complete
from methods.registry import get_method
from tests.methods import conformance
from tests.methods.hypergradient_toys import equals_finite_differences, tuning_at
from tests.methods.ranks import on_two_ranks

METHOD, PLAIN = get_method("feature-fae-tuned"), get_method("feature-fae")
SMALL = {**conformance.small(METHOD), "inner_updates": 1, "corrupted_versions": 2}
SIZE = (32, 32)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data() -> TrialData:
    return conformance.images(SIZE)


@pytest.fixture(scope="module")
def whole(data: TrialData) -> list[Progress]:
    return list(METHOD.fit(data, SMALL, Context(seed=3, rungs=4)))


def test_the_hypergradient_through_the_backbone_is_that_of_finite_differences() -> None:
    backbone = copy.deepcopy(load_backbone("random", (8, 16))).double()
    images = [
        0.3 + 0.4 * torch.rand(3, 3, *SIZE, generator=generator(seed), dtype=torch.float64)
        for seed in range(2)
    ]
    images[1][:, :, 3:14, 5:20] -= 0.25
    count = sum(backbone.channels)
    found = FeatureSpace("random", Extractor(backbone), torch.zeros(count), torch.ones(count))
    found.centre, found.scale = found.centre.double(), found.scale.double()
    everything = found(images[0])
    found.centre, found.scale = everything.mean((0, 2, 3)), everything.std((0, 2, 3))
    clean, test = (found(part) for part in images)
    assert clean.dtype == torch.float64
    network = GridAutoencoder(count, 4, 3, 1, seed=1).double()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(3):
        optimiser.zero_grad()
        (network(clean + 0.1) - clean).square().mean().backward()
        optimiser.step()
    draw = CUTDIFF_SIGNED.draw(3, SIZE, generator(7))
    draw.rows["centre"].copy_(0.3 + 0.4 * draw["centre"])
    noise = 0.1 * torch.randn(clean.shape, generator=generator(8), dtype=torch.float64)
    tuning = tuning_at(Features(found), CorruptionRecipe(cutdiff_share=1.0), SIZE)
    equals_finite_differences(
        tuning, network, optimiser, TuningBatch(images[0], clean, test, noise, noise, draw)
    )


def test_a_trial_moves_its_cutdiff_and_resumes_where_it_was(
    data: TrialData, whole: list[Progress]
) -> None:
    assert isinstance(METHOD, TuningMethod)
    names = {"cutdiff_size", "cutdiff_ratio", "cutdiff_angle", "cutdiff_amplitude"}
    assert all(set(p.tuned) == names for p in whole)
    # Two of eight steps are the warm start, and end before the first rung does.
    assert whole[0].tuned["cutdiff_size"] == 0.01
    assert len({p.tuned["cutdiff_size"] for p in whole}) == 4
    rest = list(METHOD.fit(data, SMALL, Context(seed=3, rungs=4, resume=whole[1].state())))
    assert [p.tuned for p in rest] == [p.tuned for p in whole[2:]]
    one, other = whole[-1].detector.weights(), rest[-1].detector.weights()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_trained_on_is_the_cutdiff_as_it_is_now(data: TrialData) -> None:
    values = complete(METHOD.hyperparameters, {**SMALL, "occlusion_share": 0.0, "clean_share": 0.0})

    def corrupted(amplitude: float, **more: float) -> tuple[Tensor, Tensor]:
        training = Training(data, {**values, **more, "noise_sigma": 0.0}, Context(seed=3))
        assert training.tuning is not None
        training.tuning.tuned.vector[3] = amplitude
        training.recipe = training.tuning.moved(training.recipe)
        inputs, _, mask = training.batch(0)
        return inputs, mask

    # Where CutDiff is all that corrupts, nothing can be made before training.
    (dark, mask), (faint, half) = corrupted(0.8), corrupted(0.4)
    assert not torch.equal(dark, faint)
    torch.testing.assert_close(half, mask / 2)
    # Among others, about half of the corrupted images carry it.
    mixed = {"occlusion_share": 1.0, "corrupted_share": 1.0, "batch_size": 64}
    masks = [corrupted(a, **mixed)[1].flatten(1) for a in (0.8, 0.4)]
    changed = (masks[0] != masks[1]).any(1)
    assert 20 < int(changed.sum()) < 44
    assert bool((masks[0][~changed].sum(1) > 0).any())


def test_two_ranks_tune_what_one_does(data: TrialData) -> None:
    # Of a circle the angle has no gradient but rounding, which Adam would follow.
    values = {**SMALL, "steps": 4, "cutdiff_ratio": 1.6, "cutdiff_size": 0.02}

    def run(context: Context) -> Progress:
        return list(METHOD.fit(data, values, context))[-1]

    single, pair = run(Context(seed=5, rungs=1)), on_two_ranks(run, seed=5, rungs=1)
    assert single.tuned["cutdiff_size"] != 0.02
    assert pair[0].tuned == pair[1].tuned
    assert pair[0].tuned == pytest.approx(single.tuned, rel=1e-2, abs=1e-3)


def test_the_embedding_that_tunes_is_the_detectors(data: TrialData, whole: list[Progress]) -> None:
    detector = whole[-1].detector
    z = detector.space(unit(data.test))  # type: ignore[attr-defined]
    output, code = detector.network.with_features(z)  # type: ignore[attr-defined]
    parts = Features(detector.space).blocks(z, output, code)  # type: ignore[attr-defined]
    expected = detector.embed(unit(data.test))
    torch.testing.assert_close(detector.standardiser(*parts), expected)  # type: ignore[attr-defined]


def test_without_tuning_it_is_the_plain_autoencoder(data: TrialData) -> None:
    values = {**SMALL, "steps": 2, "corruption_tuning": "none"}
    (progress,) = METHOD.fit(data, values, Context(rungs=1))
    assert progress.tuned == {}
    own = {name: v for name, v in SMALL.items() if name not in ("inner_updates", "warm_share")}
    (same,) = PLAIN.fit(data, {**own, "steps": 2, "cutdiff_share": 1.0}, Context(rungs=1))
    assert same.train_loss == progress.train_loss


@pytest.mark.parametrize("name", ["cutdiff_share", "cutdiff_amplitude", "corrupted_share"])
def test_what_cannot_be_tuned_is_refused(data: TrialData, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0"):
        METHOD.check(data, {**SMALL, name: 0.0})
    METHOD.check(data, {**SMALL, name: 0.0, "corruption_tuning": "none"})
