"""The main job as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.conftest import TINY, Run, json_of, write_mvtec


def test_launch_on_demo_data_registers_a_model_that_loads_elsewhere(tuner: Run, home: Path) -> None:
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

    status = json_of(tuner("status", "first", "--json"))
    assert status["state"] == "ended"
    assert len(status["trials"]) == 4
    again = json_of(tuner("audit", "first", "--json"))
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
    refused = tuner("launch", "--name", "first", *TINY, check=False)
    assert refused.returncode == 2
    assert "tuner resume first" in refused.stderr


def test_same_seed_same_study_with_one_trial_at_a_time(tuner: Run, tmp_path: Path) -> None:
    data = str(write_mvtec(tmp_path / "data"))
    found = []
    for name in ("a", "b"):
        summary = json_of(
            tuner(
                "launch", "--engine", "local", "--data", data, "--category", "part",
                "--budget", "3", "--seed", "7", "--precision", "float32",
                "--json", "--name", name, *TINY,
            )
        )  # fmt: skip
        found.append((summary["winner"], summary["audit"]))
    assert found[0] == found[1]


def test_labels_folders_and_file_order_do_not_move_the_winner(tuner: Run, tmp_path: Path) -> None:
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
    winners = []
    for name, data in (("one", original), ("two", permuted)):
        summary = json_of(
            tuner(
                "launch", "--engine", "local", "--data", str(data), "--category", "part",
                "--budget", "3", "--precision", "float32", "--json", "--name", name, *TINY,
            )
        )  # fmt: skip
        winners.append((summary["winner"], summary["data"]["fingerprint"]))
    assert winners[0] == winners[1]


def test_a_plain_folder_needs_no_labels_and_gets_no_audit(tuner: Run, tmp_path: Path) -> None:
    source = write_mvtec(tmp_path / "source") / "part"
    plain = tmp_path / "lids"
    (plain / "normal").mkdir(parents=True)
    (plain / "unlabelled").mkdir()
    for index, path in enumerate(sorted((source / "train").rglob("*.png"))):
        (plain / "normal" / f"{index}.png").write_bytes(path.read_bytes())
    for index, path in enumerate(sorted((source / "test").rglob("*.png"))):
        (plain / "unlabelled" / f"{index}.png").write_bytes(path.read_bytes())
    summary = json_of(
        tuner(
            "launch", "--engine", "local", "--data", str(plain),
            "--budget", "2", "--json", "--name", "plain", *TINY,
        )
    )  # fmt: skip
    assert summary["category"] == "lids"
    assert summary["audit"] is None
    refused = tuner("audit", "plain", check=False)
    assert refused.returncode == 2
    assert "hold no labels" in refused.stderr
