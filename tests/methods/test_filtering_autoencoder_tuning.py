"""CutDiff tuned by hypergradient in the filtering autoencoder, and taken over from elsewhere."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from methods.augmentation.cutdiff import CUTDIFF_SIGNED
from methods.contract import Context, Progress, TrialData, TuningMethod
from methods.corruption.cutdiff import adopted, settings_of, vector_of
from methods.corruption.recipe import CorruptionRecipe
from methods.filtering_autoencoder.training import Pixels, Training
from methods.hypergradient.adam import momentum_of
from methods.hypergradient.corruption import TuningBatch
from methods.hyperparameter import by_name, complete
from methods.networks.unet import UNet
from methods.registry import get_method
from methods.self_tuning.hyperparameters import HYPERPARAMETERS as SELF_TUNING
from tests.methods.hypergradient_toys import equals_finite_differences, tuning_at
from tests.methods.ranks import on_two_ranks

TUNED, FAE = get_method("fae-tuned"), get_method("fae")
TINY = {"width": 2, "batch_size": 4, "steps": 8, "learning_rate": 2e-3, "inner_updates": 1}
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
    clean, test, noise = greys(3, 4), greys(3, 5), 0.01 * greys(3, 6)
    test[:, :, 3:9, 5:12] -= 0.25
    draw = CUTDIFF_SIGNED.draw(3, SIZE, generator(7))
    draw.rows["centre"].copy_(0.3 + 0.4 * draw["centre"])
    tuning = tuning_at(Pixels(), CorruptionRecipe(clean_share=0.0, cutdiff_share=1.0), SIZE)
    assert tuning.share == 0.5
    equals_finite_differences(tuning, *trained, TuningBatch(clean, clean, test, noise, noise, draw))


def test_the_step_ahead_is_as_long_as_adams(trained: tuple[UNet, torch.optim.Adam]) -> None:
    network, optimiser = trained
    found = momentum_of(optimiser, network, 0.25)
    plain = sum(float(v.square().sum()) for v in found.velocity.values()) ** 0.5
    moved = copy.deepcopy(network)
    ahead = torch.optim.Adam(moved.parameters(), lr=1e-3)
    ahead.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    for parameter, own in zip(moved.parameters(), network.parameters(), strict=True):
        # a gradient that leaves Adam's moments as they are, but for their bias
        parameter.grad = optimiser.state[own]["exp_avg"].clone()
    ahead.step()
    pairs = zip(moved.parameters(), network.parameters(), strict=True)
    length = sum(float((a - b).detach().square().sum()) for a, b in pairs) ** 0.5
    assert found.step.learning_rate * plain == pytest.approx(length, rel=0.2)
    assert found.step.momentum == 0.9
    with pytest.raises(ValueError, match="train a step before"):
        momentum_of(torch.optim.Adam(moved.parameters()), moved, 0.25)


def test_settings_are_those_of_the_self_tuning_trial() -> None:
    ours, theirs = by_name(FAE.hyperparameters), by_name(SELF_TUNING)
    for name in ("size", "ratio", "angle", "amplitude"):
        one, other = ours[f"cutdiff_{name}"], theirs[f"initial_{name}"]
        assert (one.low, one.high, one.log, one.unit) == (
            other.low, other.high, other.log, other.unit,
        )  # fmt: skip
    recipe = CorruptionRecipe(cutdiff_size=0.04, cutdiff_ratio=1.5, cutdiff_amplitude=-0.3)
    again = settings_of(vector_of(recipe, (64, 64)))
    assert again == pytest.approx(
        {"cutdiff_size": 0.04, "cutdiff_ratio": 1.5, "cutdiff_angle": 0, "cutdiff_amplitude": -0.3}
    )
    for bound in (1e-5, 1.0):
        FAE.check(_plain(), {"cutdiff_size": bound})
        vector_of(CorruptionRecipe(cutdiff_size=bound), (256, 256))


def _plain() -> TrialData:
    images = (255 * greys(2, 0)).to(torch.uint8)
    return TrialData(images, images, images)


def test_a_learned_cutdiff_is_adopted_within_bounds_and_nothing_else() -> None:
    learned = {"size": 0.02, "ratio": 1.3, "angle": 0.4}
    expected = {"cutdiff_size": 0.02, "cutdiff_ratio": 1.3, "cutdiff_angle": 0.4}
    assert FAE.adopt("cutdiff", learned) == {"cutdiff_share": 1.0, **expected}
    signed = FAE.adopt("cutdiff-signed", {**learned, "amplitude": -0.4})
    assert signed["cutdiff_amplitude"] == -0.4
    here = {name: value for name, value in signed.items() if name != "cutdiff_share"}
    assert adopted("cutdiff-signed", here) == signed
    FAE.check(_plain(), signed)
    coloured = FAE.adopt("cutdiff-coloured", {**learned, "size": 9.0, "red": 0.1})
    size = next(p for p in FAE.hyperparameters if p.name == "cutdiff_size")
    assert coloured == {"cutdiff_share": 1.0, **expected, "cutdiff_size": size.high}
    FAE.check(_plain(), coloured)
    for other in ("rotation", "thread", "cutdiff-cholesky", "texture-blend"):
        assert FAE.adopt(other, learned) == {}


def test_a_tuned_trial_moves_its_cutdiff_and_resumes_where_it_was(data: TrialData) -> None:
    whole = list(TUNED.fit(data, TINY, Context(seed=3, rungs=4)))
    assert isinstance(TUNED, TuningMethod)
    names = {"cutdiff_size", "cutdiff_ratio", "cutdiff_angle", "cutdiff_amplitude"}
    assert all(set(p.tuned) == names for p in whole)
    # two of eight steps are the warm start, and end before the first rung does
    assert whole[0].tuned["cutdiff_size"] == 0.01
    assert len({p.tuned["cutdiff_size"] for p in whole}) == 4
    state = copy.deepcopy(whole[1].state())
    rest = list(TUNED.fit(data, TINY, Context(seed=3, rungs=4, resume=state)))
    assert [p.tuned for p in rest] == [p.tuned for p in whole[2:]]
    one, other = whole[-1].detector.weights(), rest[-1].detector.weights()
    assert all(torch.equal(one[name], other[name]) for name in one)
    learned = TUNED.learned(TINY, whole[-1].tuned)
    shown = TUNED.corrupt(data, {**learned, "clean_share": 0.0}, 4, generator(1))[1]
    before = TUNED.corrupt(data, {**TINY, "clean_share": 0.0}, 4, generator(1))[1]
    assert not torch.equal(shown, before)


def test_a_rungs_diagnostics_are_on_the_same_images_and_draws_however_far_training_is(
    data: TrialData,
) -> None:
    values = {**complete(TUNED.hyperparameters, TINY)}
    training = Training(data, values, Context(seed=3))
    detector = training.detector()
    before = training.diagnostics(detector)
    # Another bank of textures is in use by then, and the CutDiff that is learned has moved.
    training.step_number, training.recipe = 600, replace(training.recipe, cutdiff_size=0.1)
    assert training.diagnostics(detector) == before


def test_two_ranks_tune_what_one_does(data: TrialData) -> None:
    # of a circle the angle has no gradient but rounding, which Adam would follow
    values = {**TINY, "steps": 4, "cutdiff_ratio": 1.6, "cutdiff_size": 0.02}

    def run(context: Context) -> Progress:
        return list(TUNED.fit(data, values, context))[-1]

    single, pair = run(Context(seed=5, rungs=1)), on_two_ranks(run, seed=5, rungs=1)
    assert single.tuned["cutdiff_size"] != 0.02
    assert pair[0].tuned == pair[1].tuned
    assert pair[0].tuned == pytest.approx(single.tuned, rel=1e-3, abs=1e-4)


def test_without_tuning_the_cutdiff_stays(data: TrialData) -> None:
    values = {**TINY, "steps": 2, "corruption_tuning": "none"}
    (progress,) = TUNED.fit(data, values, Context(rungs=1))
    assert progress.tuned == {}
    own = {name: value for name, value in TINY.items() if name != "inner_updates"}
    (same,) = FAE.fit(data, {**own, "steps": 2, "cutdiff_share": 1.0}, Context(rungs=1))
    assert same.train_loss == progress.train_loss


def test_what_cannot_be_tuned_is_refused(data: TrialData) -> None:
    with pytest.raises(ValueError, match="cutdiff_share is 0"):
        TUNED.check(data, {"cutdiff_share": 0.0})
    with pytest.raises(ValueError, match="cutdiff_amplitude is 0"):
        TUNED.check(data, {"cutdiff_amplitude": 0.0})
    with pytest.raises(ValueError, match="unknown hyperparameter corruption_tuning"):
        FAE.check(data, {"corruption_tuning": "hypergradient"})
