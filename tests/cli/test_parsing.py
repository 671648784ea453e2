from __future__ import annotations

import pytest

from tuner.cli.parsing import parse_pins, parse_size
from tuner.request import study_name
from tuner.study.config import StudyConfig


def test_sizes() -> None:
    assert parse_size(None) is None
    assert parse_size("96") == (96, 96)
    assert parse_size("96x128") == (96, 128)
    for text in ("", "96x", "big", "9.5", "-8"):
        with pytest.raises(ValueError, match="height x width"):
            parse_size(text)


def test_pins_keep_their_types() -> None:
    pins = parse_pins(["steps=800", "learning_rate=1e-3", "skips=false", "fae.kernel=5", "a=b=c"])
    assert pins == {
        "steps": 800,
        "learning_rate": 1e-3,
        "skips": False,
        "fae.kernel": 5,
        "a": "b=c",
    }
    assert isinstance(pins["steps"], int)
    with pytest.raises(ValueError, match="must be like"):
        parse_pins(["=3"])


def test_a_made_up_name_is_a_valid_one() -> None:
    assert study_name("metal nut/2").startswith("metal-nut-2-")
    long = StudyConfig(name=study_name("2024-05-17 Line 3 " * 20), category="x")
    assert len(long.name) <= 80 and long.name.startswith("2024-05-17-Line-3-")
    with pytest.raises(
        ValueError, match=r"begins with a letter or digit.*give another one by --name"
    ):
        StudyConfig(name="my lid", category="x")
