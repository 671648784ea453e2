"""The arithmetic of the benchmark of choosing on pretrained features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from choice import CRITERIA, OF_RANDOM, table
from choice_judge import Picked, joined
from choice_tasks import SHIFTS, Source, is_design, is_shifted, sources_of
from choice_tasks import _contaminated as contaminated
from choice_tasks import _shared as shared
from feature_tasks import Task


def task(good: int = 60, bad: int = 30) -> Task:
    """Good images are their number in grey, bad ones 200 and more."""
    levels = np.concatenate([np.arange(good), 200 + np.arange(bad) % 50]).astype(np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (good + bad, 3, 8, 8)).copy()
    return Task(images[:40], images, np.arange(good + bad) >= good, None)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.6])
def test_a_batch_has_the_wanted_share_of_defects(share: float) -> None:
    found = shared(task(), share, np.random.default_rng(0))
    assert found.anomalous.mean() == pytest.approx(share, abs=0.02)
    assert np.array_equal(found.batch[:, 0, 0, 0] >= 200, found.anomalous)


def test_bad_images_among_the_normal_ones_leave_the_batch() -> None:
    normals, found = contaminated(task(), 0.05, np.random.default_rng(0))
    assert (normals[:, 0, 0, 0] >= 200).sum() == 2 and len(normals) == 40
    assert found.anomalous.sum() == 28 and (~found.anomalous).sum() == 60


def test_shifts_change_light_and_place_and_keep_the_shape() -> None:
    ramp = np.broadcast_to(np.arange(0, 240, 10, dtype=np.uint8), (2, 3, 24, 24)).copy()
    for change in SHIFTS.values():
        found = change(ramp)
        assert found.shape == ramp.shape and found.dtype == np.uint8
        assert not np.array_equal(found, ramp)
    assert SHIFTS["darker"](ramp)[0, 0, 0, 10] == 85
    assert SHIFTS["moved"](ramp)[0, 0, 12, 2] == 100  # what stood eight columns to the right


def test_tasks_are_design_tasks_whatever_their_form() -> None:
    assert is_design("demo tile") and is_design("tile break, darker")
    assert not is_design("commutator") and not is_design("tile blowhole, 5% defects")
    assert is_shifted("demo grid, 5% of the normals bad") and not is_shifted("demo grid")
    found = sources_of([("/parts", "commutator")])
    assert Source("demo", "grid", 0.05) in found and Source("/parts", "commutator", 0.05) in found


def test_members_are_joined_by_shares() -> None:
    one = Picked(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5]))
    two = Picked(torch.tensor([300.0, 200.0, 100.0]), torch.tensor([50.0]))
    both = joined([one, two])
    # Shares of four reference scores: 3/8, 5/8, 7/8 and the mirror image; the normal is lowest.
    assert both.test.tolist() == pytest.approx([5 / 8] * 3)
    assert both.held_out.tolist() == pytest.approx([1 / 8])


def test_regrets_are_means_over_tasks_in_units_of_a_random_pick() -> None:
    names = [f"best of each scale by {name}" for name in CRITERIA]
    rows = [
        {**{name: {"auroc": 0.9} for name in names}, "defaults": {"auroc": 0.8},
         "memory": {"auroc": 0.7}, "random pick": {"auroc": 0.6}, "best single": {"auroc": 1.0}},
        {**{name: {"auroc": 0.7} for name in names}, "defaults": {"auroc": 0.8},
         "memory": {"auroc": 0.7}, "random pick": {"auroc": 0.6}, "best single": {"auroc": 0.8}},
    ]  # fmt: skip
    found = table(rows, ["a", "b"])
    assert found[names[0]]["auroc"] == 0.8 and found[names[0]][OF_RANDOM] == pytest.approx(
        1 / 3, abs=1e-3
    )
    assert found["random pick"][OF_RANDOM] == 1
    # Two seeds of one task count as one.
    assert table(rows, ["a", "a"])[names[0]]["auroc"] == 0.8
