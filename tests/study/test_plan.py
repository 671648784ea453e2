"""What a study is expected to take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from methods.contract import TrialData
from tests.study.toys import SPACE
from tuner.study import plan
from tuner.study.config import StudyConfig
from tuner.study.plan import Layout, Machine, Plan, Speed, duration, measure
from tuner.study.workbench import _space


@pytest.mark.parametrize(
    ("budget", "trials", "seconds"),
    [
        # A trial sets up for 2 s, trains 10 steps of 1 s and is judged 4 times in 3 s; half of
        # that, but for the first, as weak ones are stopped; two at once.
        ("4", 4, 2 * (2 + 0.5 * 22)),
        ("65s", 10, 65 + 6.5),
        ("130cpum", 600, 600 / 2 * 13),
    ],
)
def test_an_estimate_holds_training_judging_start_and_end(
    budget: str, trials: float, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_OVERHEAD", 1.0)
    monkeypatch.setattr(plan, "stopping_share", lambda *_: 0.5)
    speed = Speed({"float32, channels last": 1.0}, "float32", True, setup=2.0, judging=3.0)
    config = StudyConfig(name="a", category="b", budget=budget, engine="local", methods=("toy",))
    found = Plan(config, Machine(2, 0, "CPU"), Layout(2, 1, 1.0, 0.0, False), {"toy": speed},
                 [SPACE], {}, (8, 8))  # fmt: skip
    around = 4.0 + 30.0 + 2 * 3.0
    assert found.expected() == pytest.approx((trials, seconds + around))


def test_times_are_said_as_people_say_them() -> None:
    said = [duration(seconds) for seconds in (3, 44, 89, 95, 5000, 9000)]
    assert said == ["10 s", "40 s", "90 s", "2 min", "83 min", "2.5 h"]


def test_large_images_are_measured_by_a_part_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def timed(method: Any, data: TrialData, *rest: Any) -> Any:
        seen.append((len(data.train), data.size))
        return plan._Timed(0.5, 0.1, None)  # type: ignore[arg-type]

    monkeypatch.setattr(plan, "_timed", timed)
    monkeypatch.setattr(plan, "_scoring_seconds", lambda *_: 0.01)
    images = torch.zeros(40, 3, 512, 256, dtype=torch.uint8)
    data = TrialData(images, images[:4], images[:12])
    config = StudyConfig(name="a", category="b", methods=("fae",), engine="local")
    space = _space(config, "fae", Machine(1, 0, "CPU"))
    layout = Layout(1, 1, 1.0, 0.0, False)
    speed = measure(config, space, data, layout, tmp_path / "kept.json")
    assert seen == [(24, (128, 128))] * 3
    # 8 times the area, and 40 images instead of 24; 160 are judged.
    assert speed.step == pytest.approx(0.8)
    assert speed.setup == pytest.approx(0.5 * 8 * 40 / 24)
    assert speed.judging == pytest.approx(0.01 * 8 * 160)
    seen.clear()
    # Where the first one took all the time there is, no other format is tried.
    measure(config, space, data, layout, tmp_path / "kept.json", 0.0)
    assert len(seen) == 1
