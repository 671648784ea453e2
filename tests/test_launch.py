"""The main job as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import TINY, Invoke, Run, json_of, write_mvtec

# Two threads on as many processors wait for each other, where other tests run beside them.
ONE = ["--engine", "local", "--cpus-per-worker", "1", "--precision", "float32", "--json"]


def test_launch_on_demo_data_registers_a_model_that_loads_elsewhere(
    tuner: Run, invoke: Invoke, home: Path
) -> None:
    options = ["--budget", "4", "--replicates", "1", "--name", "first", "--json"]
    summary = json_of(tuner("launch", *options, *TINY))
    assert summary["study"] == "first"
    assert summary["category"] == "tile"
    assert summary["data"]["demo"] is True
    assert sum(summary["trials"].values()) == 4
    assert summary["trials"]["failed"] == 0
    assert summary["model"]["name"] == "tile"
    assert summary["model"]["alias"] == "challenger"
    for contender in ("winner", "default", "best"):
        figures = summary["audit"][contender]
        for metric in ("image_auroc", "pixel_auroc", "image_ap", "pixel_ap", "aupro"):
            assert 0 <= figures[metric] <= 1
    folder = Path(summary["folder"])
    assert folder.is_relative_to(home)
    assert {"corruption.png", "suspicious.png"} <= {
        p.name for p in folder.joinpath("pictures").iterdir()
    }
    page = Path(summary["report"]).read_text()
    assert "What labels say afterwards" in page and "No labels were opened" not in page
    assert len(page) < 5_000_000
    assert not list(folder.rglob("checkpoint.pt"))

    script = (
        "import sys, json, numpy, mlflow\n"
        "uri = sys.argv[1]\n"
        "mlflow.set_tracking_uri(uri); mlflow.set_registry_uri(uri)\n"
        "model = mlflow.pyfunc.load_model('models:/tile@challenger')\n"
        "images = numpy.random.default_rng(0).integers(0, 256, (3, 50, 40, 3), dtype=numpy.uint8)\n"
        "found = model.predict(images)\n"
        "print(json.dumps({k: numpy.asarray(v).shape for k, v in found.items()}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, summary["tracking"]],
        capture_output=True, text=True, check=True, cwd=home,
    )  # fmt: skip
    shapes = json.loads(done.stdout.splitlines()[-1])
    assert shapes["score"] == [3]
    assert shapes["map"][0] == 3
    assert shapes["verdict"] == [3]

    status = json_of(invoke("status", "first", "--json"))
    assert status["state"] == "ended"
    assert len(status["trials"]) == 4
    again = json_of(invoke("audit", "first", "--json"))
    # Only a later audit draws the maps of what other criteria would have picked.
    assert {**again, "picks": None} == {**summary["audit"], "picks": None}
    assert all(figures["aupro"] is not None for figures in again["picks"].values())
    assert {"borda", "synthetic_validation"} <= set(again["criteria"])
    assert (folder / "audit" / "criteria.png").is_file()
    card = summary["reliability"]
    assert card["verdict"] == "doubtful" or card["verdict"] == "no better than random"
    assert any("only 3 trials" in reason for reason in card["reasons"])
    # A replicate is trained with another seed, wherever it is trained.
    assert card["figures"]["seed_spread"]["validation_loss"] > 0
    assert status["reliability"] == again["reliability"] == card
    assert summary["arms"]["default"] == 0 and set(summary["arms"]["random"]) <= {1, 2, 3}
    refused = invoke("launch", "--name", "first", *TINY, check=False)
    assert refused.exit_code == 2
    assert "tuner resume first" in refused.stderr


@pytest.mark.heavy
def test_the_same_study_from_the_same_seed_whatever_labels_and_file_order_say(
    tuner: Run, invoke: Invoke, tmp_path: Path
) -> None:
    original = write_mvtec(tmp_path / "original")
    permuted = tmp_path / "permuted"
    images = sorted((original / "part" / "test").rglob("*.png"))
    order = np.random.default_rng(1).permutation(len(images))
    for place, index in enumerate(order):
        kind = "good" if place % 3 else "zebra"
        target = permuted / "part" / "test" / kind
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{place:03d}.png").write_bytes(images[index].read_bytes())
    trains = sorted((original / "part" / "train" / "good").iterdir())
    (permuted / "part" / "train" / "good").mkdir(parents=True)
    for place, path in enumerate(reversed(trains)):
        (permuted / "part" / "train" / "good" / f"n{place}.png").write_bytes(path.read_bytes())

    def launched(run: Run | Invoke, name: str, data: Path) -> dict[str, Any]:
        asked = ["--data", str(data), "--category", "part", "--budget", "3", "--seed", "7"]
        return json_of(run("launch", "--name", name, *asked, *ONE, *TINY))

    # Two processes: in each, Python hashes texts otherwise.
    one, again = launched(invoke, "one", original), launched(tuner, "again", original)
    assert (one["winner"], one["audit"]) == (again["winner"], again["audit"])
    other = launched(invoke, "other", permuted)
    assert other["winner"] == one["winner"]
    assert other["data"]["fingerprint"] == one["data"]["fingerprint"]


@pytest.mark.heavy
def test_a_plain_folder_needs_no_labels_and_gets_no_audit(invoke: Invoke, tmp_path: Path) -> None:
    source = write_mvtec(tmp_path / "source") / "part"
    plain = tmp_path / "lids"
    (plain / "normal").mkdir(parents=True)
    (plain / "unlabelled").mkdir()
    for index, path in enumerate(sorted((source / "train").rglob("*.png"))):
        (plain / "normal" / f"{index}.png").write_bytes(path.read_bytes())
    for index, path in enumerate(sorted((source / "test").rglob("*.png"))):
        (plain / "unlabelled" / f"{index}.png").write_bytes(path.read_bytes())
    asked = ["--data", str(plain), "--method", "filter-memory", "--budget", "1", "--name", "plain"]
    summary = json_of(invoke("launch", *asked, *ONE, *TINY[:3]))
    assert summary["category"] == "lids"
    assert summary["audit"] is None
    refused = invoke("audit", "plain", check=False)
    assert refused.exit_code == 2
    assert "hold no labels" in refused.stderr
