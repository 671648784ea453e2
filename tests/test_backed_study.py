"""Studies of methods on frozen features: their winner is packaged, shown, promoted and challenged
like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tuner
from tests.conftest import write_mvtec
from tests.test_ensemble import Listening, config_of
from tuner.job import launch
from tuner.promotion.promote import PromotionRefused
from tuner.registry import load_package, read_package
from tuner.registry.versions import all_versions, speaking_to
from tuner.request import registry_uri
from tuner.study.home import Home
from tuner.study.ledger import Ledger

FEATURES = {
    "feature-fae.steps": 4, "backbone": "random", "feature-fae.width": 8,
    "feature-fae.batch_size": 4, "feature-fae.depth": 1,
}  # fmt: skip


@pytest.mark.heavy
def test_from_an_ensemble_on_features_to_a_champion_that_pixels_challenge(
    home: Path, tmp_path: Path
) -> None:
    where, data, voice = Home(home), write_mvtec(tmp_path / "data"), Listening()
    methods = ("feature-fae", "patch-memory")
    summary = launch(
        config_of(
            data, name="features", methods=methods, budget="5", ensemble=2, replicates=1,
            pins=FEATURES,
        ),
        where,
        voice,
    )  # fmt: skip
    folder = where.study("features")
    package = read_package(folder.package)
    assert len(package.members) == 2 and {m.method for m in package.members} <= set(methods)
    (backbone,) = package.backbones
    assert "replicate" in kinds_of(where, "features")
    for member in package.members:
        own = folder.trial(member.trial) / "detector.safetensors"
        with_network = (folder.package / "detector.safetensors").stat().st_size
        assert own.stat().st_size < with_network
    for name in ("suspicious.png", "corruption.png"):
        with Image.open(folder.pictures / name) as picture:
            assert min(picture.size) > 100
    page = Path(summary["report"]).read_text()
    assert "heat map of the" in page and "reconstruction of the" not in page
    with speaking_to(registry_uri(None, where)) as client:
        (version,) = all_versions(client, "part")
        run = client.get_run(version.run).data.tags
    for tags in (version.tags, run):
        assert tags["tuner.backbone"] == "random"
        assert tags["tuner.backbone_sha256"] == backbone.digest
    assert tuner.promote("part", home=home, force=True, reason="a test").event.after == 1

    launch(
        config_of(
            data, name="pixels", methods=("fae", "patch-memory"), budget="3", ensemble=None,
            warm_start="features",
            pins={
                "patch-memory.backbone": "random", "fae.steps": 4, "fae.width": 4,
                "fae.batch_size": 4,
            },
        ),
        where,
        voice,
    )  # fmt: skip
    assert "warm" in kinds_of(where, "pixels")
    with pytest.raises(PromotionRefused) as refused:
        tuner.promote("part", home=home, require=["image_auroc>=1.01"])
    (judged,) = (gate.reason for gate in refused.value.gates if gate.name == "criterion")
    assert "against the champion's" in judged and "on the same" in judged
    found = load_package(folder.package, "cpu").predict(np.zeros((1, 40, 40, 3), np.uint8))
    assert found["map"].shape == (1, 40, 40)


def kinds_of(home: Home, study: str) -> set[str]:
    return {entry.kind for entry in Ledger.read(home.ledger_url, study).entries()}
