"""A study that begins where the champion comes from."""

from __future__ import annotations

import pytest

import tuner
from tuner.registry import RegistryError
from tuner.request import warmed
from tuner.study.config import StudyConfig
from tuner.study.home import Home

CONFIG = StudyConfig(name="new", category="part", warm_start="part@champion")


def test_a_champion_stands_for_its_study(shop, tmp_path):
    with pytest.raises(LookupError, match="part has no champion; make one by: tuner promote part"):
        warmed(CONFIG, shop.home)
    with pytest.raises(RegistryError, match="there is no registry"):
        warmed(CONFIG, Home(tmp_path))
    tuner.promote("part", 1, home=shop.home.path, force=True, reason="a test")
    assert warmed(CONFIG, shop.home).warm_start == "poor"
    second = CONFIG.model_copy(update={"warm_start": "part/2"})
    assert warmed(second, shop.home).warm_start == "good"
    plain = CONFIG.model_copy(update={"warm_start": "some-study"})
    assert warmed(plain, Home(tmp_path)) == plain
    # A study that is gone on with keeps the champion of the day on which it began.
    begun = shop.home.study(CONFIG.name).config
    warmed(CONFIG, shop.home).write(begun)
    tuner.promote("part", 2, home=shop.home.path, force=True, reason="a test")
    assert warmed(CONFIG, shop.home).warm_start == "good"
    assert warmed(CONFIG, shop.home, resume=True).warm_start == "poor"
    begun.unlink()
