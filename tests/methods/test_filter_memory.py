"""A memory of filter responses: its clusters by hand, and what it sees."""

from __future__ import annotations

import pytest
import torch

from methods.contract import Context, TrialData, unit
from methods.criteria.appearance import descriptions, lattice, nearest
from methods.filter_memory.detector import SCORING
from methods.filter_memory.method import moved
from methods.registry import get_method
from methods.scoring.tier import expand


def test_a_step_moves_each_memory_to_the_mean_of_its_rows() -> None:
    rows = torch.tensor([[0.0, 0.0], [0.0, 2.0], [10.0, 0.0]])
    memory = torch.tensor([[0.0, 1.5], [8.0, 0.0], [99.0, 99.0]])
    expected = torch.tensor([[0.0, 1.0], [10.0, 0.0], [99.0, 99.0]])
    torch.testing.assert_close(moved(rows, memory), expected)


def test_distances_are_those_of_the_nearest() -> None:
    distance, owner = nearest(torch.tensor([[3.0, 4.0]]), torch.tensor([[9.0, 9.0], [0.0, 0.0]]))
    assert (float(distance), int(owner)) == (5.0, 1)


@pytest.mark.parametrize("size", [(16, 16), (32, 48), (65, 64), (200, 140)])
def test_the_lattice_is_where_images_are_described(size: tuple[int, int]) -> None:
    rows, columns = lattice(size)
    assert descriptions(torch.rand(1, 3, *size)).shape[1] == rows * columns


def test_steps_bring_the_memory_nearer() -> None:
    data = stripes()
    few, many = (
        list(get_method("filter-memory").fit(data, {"steps": steps}, Context(seed=0, rungs=1)))[-1]
        for steps in (1, 12)
    )
    assert many.train_loss < few.train_loss


def test_a_blot_is_found_and_where_it_is() -> None:
    data = stripes()
    data.test[0, :, 8:14, 18:24] = 250
    (last,) = get_method("filter-memory").fit(data, {}, Context(seed=0, rungs=1))
    images = unit(data.test)
    assert int(last.detector.scores(images, {}).argmax()) == 0
    hottest = int(last.detector.maps(images, {})[0].argmax())  # type: ignore[attr-defined]
    assert 6 <= hottest // 32 < 16 and 16 <= hottest % 32 < 26


def test_light_that_lifts_the_whole_image_is_no_anomaly() -> None:
    data = stripes()
    (last,) = get_method("filter-memory").fit(data, {}, Context(seed=0, rungs=1))
    images = 0.5 * unit(data.test)
    lifted = images + 0.2
    torch.testing.assert_close(
        last.detector.scores(images, {}), last.detector.scores(lifted, {}), rtol=1e-3, atol=1e-3
    )


def test_a_filter_that_is_not_used_makes_no_setting() -> None:
    grid = expand(SCORING, {"smoothing_passes": [0, 1], "smoothing_size": [0.05, 0.1]})
    assert len(grid) == 3
    with pytest.raises(ValueError, match="unknown hyperparameter discrepancy"):
        expand(SCORING, {"discrepancy": ["mse"]})


def test_what_does_not_fit_is_refused() -> None:
    method = get_method("filter-memory")
    with pytest.raises(ValueError, match="8 x 8 pixels, but a filter memory needs"):
        method.check(TrialData(*(torch.zeros(2, 3, 8, 8, dtype=torch.uint8),) * 3), {})
    with pytest.raises(ValueError, match="steps is 2, but must be at least the number of rungs, 4"):
        next(iter(method.fit(stripes(), {"steps": 2}, Context(seed=0, rungs=4))))


def stripes() -> TrialData:
    """Vertical stripes with a little noise."""
    generator = torch.Generator().manual_seed(3)
    columns = torch.arange(32)
    pattern = 120 + 40 * torch.sin(columns / 2.0)
    noise = 6 * torch.randn(24, 3, 32, 32, generator=generator)
    images = (pattern + noise).clamp(0, 255).round().to(torch.uint8)
    return TrialData(images[:12], images[12:16], images[16:].clone())
