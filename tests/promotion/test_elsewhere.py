"""A second machine: the registry and its files are shared, nothing else is."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import tuner
from tests.promotion.conftest import Shop
from tests.registry.test_package import pictures, png
from tuner.cli.main import app
from tuner.promotion.promote import PromotionRefused
from tuner.registry.package import STUDY_FILE
from tuner.registry.versions import by_alias, by_number, fetch
from tuner.study.config import StudyConfig
from tuner.study.home import Home
from tuner.tracking.store import make_client


@pytest.fixture
def there(shop: Shop, tmp_path, monkeypatch) -> Home:
    """An empty home that knows the first one's registry by its address."""
    monkeypatch.setenv("TUNER_HOME", str(tmp_path / "second"))
    monkeypatch.setenv("TUNER_TRACKING_URI", shop.uri)
    return Home.here()


def carried(shop: Shop, number: int, **changes) -> None:
    """What a study writes beside its winner's package."""
    client = make_client(shop.uri)
    folder = fetch(client, shop.uri, by_number(client, "part", number), shop.home.models)
    study = "poor" if number == 1 else "good"
    config = StudyConfig.read(shop.home.study(study).config)
    config.model_copy(update=changes).write(folder / STUDY_FILE, shared=True)


def gates_of(refusal) -> dict[str, str]:
    return {gate.name: gate.reason for gate in refusal.value.gates if not gate.passed}


def test_promote_judge_and_look_back_from_another_home(shop, there, tmp_path):
    for number in (1, 2):
        carried(shop, number)
    first = tuner.promote("part", 1)
    assert first.event.after == 1 and all(gate.passed for gate in first.gates)
    second = tuner.promote("part")
    compared = next(gate for gate in second.gates if gate.name == "criterion")
    assert second.event.before == 1 and "seed noise" in compared.reason
    champion = by_alias(make_client(shop.uri), "part", "champion")
    assert champion is not None and champion.number == 2

    (tmp_path / "a.png").write_bytes(png(pictures(1)[0]))
    (found,) = tuner.predict("part@champion", str(tmp_path / "a.png"))
    expected = tuner.load("part@champion", home=shop.home.path, tracking_uri=shop.uri)
    assert found.score == expected.predict(str(tmp_path / "a.png"))["score"][0]
    listed = CliRunner().invoke(app, ["history", "part", "--json"])
    assert [event["after"] for event in json.loads(listed.stdout)["events"]] == [1, 2]
    back = CliRunner().invoke(app, ["promote", "part", "--rollback", "--json"])
    assert json.loads(back.stdout)["event"]["after"] == 1


def test_what_is_not_there_is_named_with_its_cure(shop, there, tmp_path):
    carried(shop, 2, data=str(tmp_path / "nowhere"))
    with pytest.raises(PromotionRefused) as refusal:
        tuner.promote("part", require=["image_auroc>=0.5"])
    shut = gates_of(refusal)
    assert "nowhere" in shut["false_positives"]
    assert "promote where its images can be read" in shut["false_positives"]
    assert "where it ran, by: tuner audit good" in shut["require.image_auroc"]
    for command in (["report", "good"], ["audit", "good"], ["compare", "good", "poor"]):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2, done.output
        assert "no study is named 'good'" in done.stderr and str(there.path) in done.stderr
        assert "TUNER_HOME" in done.stderr


def test_a_package_without_its_study_can_only_be_judged_where_that_lies(shop, there):
    client = make_client(shop.uri)
    folder = fetch(client, shop.uri, by_number(client, "part", 2), shop.home.models)
    (folder / STUDY_FILE).unlink(missing_ok=True)
    with pytest.raises(PromotionRefused, match="no study is named 'good'"):
        tuner.promote("part")
    assert by_alias(client, "part", "champion") is None
