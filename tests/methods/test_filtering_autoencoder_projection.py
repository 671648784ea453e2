"""Iterated projection: what it gives, what it never does, and what it spares."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from methods.contract import Context, TrialData, unit
from methods.filtering_autoencoder.projection import Projection, divided, project
from methods.registry import get_method
from methods.scoring.discrepancy import mse
from methods.scoring.normalisation import MapStatistics

FAE = get_method("fae")


class Counted:
    """A map that notes how many images each of its passes took."""

    def __init__(self, function) -> None:  # type: ignore[no-untyped-def]
        self.function, self.passes = function, []

    def __call__(self, images: Tensor) -> Tensor:
        self.passes.append(len(images))
        return self.function(images)


def projected(step: Counted, images: Tensor, *wanted: Projection) -> list[Tensor]:
    return project(step, step(images), wanted)


def halving(images: Tensor) -> Tensor:
    return images / 2


def test_a_contraction_by_hand() -> None:
    images = torch.tensor([[1.0], [0.1], [0.004]])
    results = projected(Counted(halving), images, *(Projection(t, 1e-3) for t in (1, 2, 3, 10)))
    assert results[0].flatten().tolist() == pytest.approx([0.5, 0.05, 0.002])
    assert results[1].flatten().tolist() == pytest.approx([0.25, 0.025, 0.001])
    # 0.001 would move by 0.0005 only: the third image stays there
    assert results[2].flatten().tolist() == pytest.approx([0.125, 0.0125, 0.001])
    # 2^-9 moves by less than 0.001; 2^-8 does not
    assert results[3].flatten().tolist() == pytest.approx([2**-9, 0.1 * 2**-6, 0.001], rel=1e-5)


def test_images_that_are_done_take_no_part_in_later_passes() -> None:
    images = torch.tensor([[1.0], [0.1], [0.004]])
    step = Counted(halving)
    projected(step, images, Projection(10, 1e-3))
    assert step.passes == [3, 3, 3, 2, 2, 2, 2, 1, 1, 1]
    step = Counted(halving)
    projected(step, images, Projection(), Projection(1))
    assert step.passes == [3]
    step = Counted(lambda x: x.clamp(max=0.5))
    projected(step, images, Projection(10))
    assert step.passes == [3, 3]


def test_one_sequence_serves_all_counts_and_tolerances() -> None:
    images = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    wanted = [Projection(t, tolerance) for t in (1, 2, 4, 7) for tolerance in (0.2, 0.02, 1e-4)]
    step = Counted(halving)
    together = projected(step, images, *wanted)
    assert len(step.passes) == 1 + 7
    for projection, result in zip(wanted, together, strict=True):
        assert torch.equal(result, projected(Counted(halving), images, projection)[0])


def test_more_iterations_never_leave_a_larger_residual() -> None:
    """For maps that contract, expand, wander or turn round alike, image by image."""
    draws = torch.Generator().manual_seed(1)
    weight = torch.randn(5, 5, generator=draws)

    def wild(images: Tensor) -> Tensor:
        return (0.5 + 0.5 * torch.sin(3 * images @ weight)).clamp(0, 1)

    images = torch.rand(200, 5, generator=draws)
    results = projected(Counted(wild), images, *(Projection(t, 1e-5) for t in range(1, 11)))
    residuals = [(wild(result) - result).abs().amax(1) for result in results]
    for fewer, more in itertools.pairwise(residuals):
        assert (more <= fewer).all()
    # it is no empty promise: plain iteration breaks it, and the guard still lets images move on
    plain = [images]
    for _ in range(4):
        plain.append(wild(plain[-1]))
    grown = (wild(plain[4]) - plain[4]).abs().amax(1) > (wild(plain[1]) - plain[1]).abs().amax(1)
    assert grown.any()
    assert (residuals[-1] < residuals[0]).any()


def test_what_never_stops_is_plain_iteration_whatever_else_is_wanted() -> None:
    images = torch.rand(4, 3, generator=torch.Generator().manual_seed(2)) + 0.1

    wanted = [Projection(4, stops=False), Projection(4, 1e-3), Projection(2, stops=False)]
    step = Counted(lambda x: 2 * x)
    four, guarded, two = projected(step, images, *wanted)
    torch.testing.assert_close(four, 16 * images)
    torch.testing.assert_close(two, 4 * images)
    torch.testing.assert_close(guarded, 2 * images)
    alone = Counted(lambda x: 2 * x)
    assert torch.equal(projected(alone, images, wanted[0])[0], four)
    assert alone.passes == [4] * 4


def test_numbers_that_are_not_finite_end_an_image_where_it_was() -> None:
    images = torch.tensor([[0.4], [0.2]])
    result = projected(
        Counted(lambda x: torch.where(x < 0.15, math.nan, x - 0.1)), images, Projection(10)
    )[0]
    assert result.isfinite().all()


def test_settings_are_divided_and_checked() -> None:
    assert divided({}) == (Projection(), {})
    projection, rest = divided({"projections": 3, "pooling": "max"})
    assert (projection, rest) == (Projection(3, 1e-3), {"pooling": "max"})
    # the tolerance of a single projection means nothing
    assert divided({"projections": 1, "projection_tolerance": 0.05})[0] == Projection()
    plain = {"projections": 3, "projection_stop": "never", "projection_tolerance": 0.05}
    assert divided(plain)[0] == Projection(3, stops=False)
    with pytest.raises(ValueError, match="projections is 0, but must be a whole number from 1"):
        divided({"projections": 0})
    with pytest.raises(ValueError, match="projection_tolerance is 1"):
        divided({"projection_tolerance": 1.0})


@pytest.fixture(scope="module")
def data() -> TrialData:
    draws = torch.Generator().manual_seed(2)
    images = torch.randint(60, 200, (8, 3, 16, 16), generator=draws).to(torch.uint8)
    return TrialData(images, images[:3], images[:5])


def test_a_detector_scores_by_iterated_projection(data: TrialData) -> None:
    values = {"width": 2, "batch_size": 4, "steps": 12, "learning_rate": 5e-3}
    detector = list(FAE.fit(data, values, Context(rungs=1)))[-1].detector
    images = unit(data.test)
    grid = [
        {"projections": t, "pooling": pooling, "discrepancy": "mse"}
        for t in (1, 2, 4)
        for pooling in ("sum", "max")
    ]
    together = detector.grid_scores(images, grid)
    assert together.shape == (6, 5) and together.isfinite().all()
    for row, setting in zip(together, grid, strict=True):
        torch.testing.assert_close(detector.scores(images, setting), row)
    once = detector.reconstruct(images)
    twice = detector.reconstruct(once)
    later = (detector.reconstruct(twice) - twice).abs().flatten(1).amax(1)
    sooner = (twice - once).abs().flatten(1).amax(1)
    expected = torch.where((later <= sooner).view(-1, 1, 1, 1), twice, once)
    torch.testing.assert_close(detector.project(images, {"projections": 2}), expected)
    raw = {"discrepancy": "mse", "smoothing_passes": 0}
    torch.testing.assert_close(
        detector.maps(images, {**raw, "projections": 2}), (images - expected).square().mean(1)
    )
    normal = {**grid[2], "map_normalisation": "z"}
    assert not [name for name in detector.statistics if name.startswith("2/")]
    scored = detector.scores(images, normal)
    measured = MapStatistics.measured(
        mse(unit(data.held_out), detector.project(unit(data.held_out), {"projections": 2}))
    )
    assert torch.equal(detector.statistics["2/0.001.mse"].spread, measured.spread)
    assert torch.equal(FAE.restore(values, detector.weights()).scores(images, normal), scored)
    assert torch.equal(together[:2], detector.grid_scores(images, [
        {key: value for key, value in setting.items() if key != "projections"}
        for setting in grid[:2]
    ]))  # fmt: skip
