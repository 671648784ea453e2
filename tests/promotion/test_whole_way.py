"""From demo data to a served champion by the commands alone, most in a process of their own."""

from __future__ import annotations

import csv

import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.conftest import TINY, json_of
from tests.registry.test_package import pictures
from tuner.cli.main import app


def test_from_nothing_to_a_served_champion(tuner, invoke, home, tmp_path):
    options = ["--engine", "local", "--precision", "float32", "--budget", "1", "--name", "first"]
    invoke("launch", "--category", "tile", "--cpus-per-worker", "1", *options, *TINY)
    early = CliRunner().invoke(app, ["predict", "tile@champion", str(tmp_path)])
    assert early.exit_code == 2 and "tuner promote tile" in early.stderr
    command = ["promote", "tile", "--require", "image_auroc>=1.01", "--json"]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 4 and "require.image_auroc" in refused.stdout

    promoted = json_of(tuner("promote", "tile", "--json"))
    assert promoted["event"]["after"] == 1 and len(promoted["gates"]) == 5

    Image.fromarray(pictures(1, (50, 60))[0]).save(tmp_path / "part.png")
    tuner("predict", "tile@champion", str(tmp_path / "*.png"), "--out", str(tmp_path / "out"))
    (row,) = csv.DictReader((tmp_path / "out" / "predictions.csv").open())
    assert row["image"] == str(tmp_path / "part.png")

    served = json_of(tuner("serve", "tile/1", "--check", "--port", "0", "--json"))
    assert len(served["checked"]["score"]) == 1
    # A table is rounded, an answer is not.
    exact = served["checked"]["threshold"][0]
    assert float(row["threshold"]) == pytest.approx(exact, rel=1e-5)

    again = CliRunner().invoke(app, ["promote", "tile"])
    assert again.exit_code == 2 and "no challenger" in again.stderr
    listed = CliRunner().invoke(app, ["history", "tile"]).stdout
    assert "promoted" in listed and "first" in listed
