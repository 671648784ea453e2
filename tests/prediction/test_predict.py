"""Many images through a packaged model: in order, in bounded memory, the unreadable ones named."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import tuner
from tests.registry.conftest import SIZE, write_toy
from tests.registry.test_package import pictures, png
from tuner.cli.main import app
from tuner.data import DataError
from tuner.prediction.endpoint import asked_of, judged
from tuner.prediction.places import Found, find
from tuner.prediction.stream import AHEAD, Clock, Unreadable, judge_all
from tuner.prediction.writing import count_all, hottest_box, write_all
from tuner.registry import load_package


@pytest.fixture
def model(tmp_path) -> Path:
    write_toy(tmp_path / "model", threshold=1.5)
    return tmp_path / "model"


@pytest.fixture
def line(tmp_path) -> Path:
    """Nine images of several sizes, one of them broken, in folders."""
    root = tmp_path / "line"
    for index in range(9):
        folder = root / ("early" if index < 5 else "late")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = pictures(1, SIZE if index % 2 else (50, 30), seed=index)[0]
        (folder / f"{index}.png").write_bytes(png(pixels))
    (root / "early" / "3.png").write_bytes(b"broken")
    (root / "notes.txt").write_text("no image")
    return root


def test_verdicts_equal_those_of_the_model_in_order(model, line):
    packaged = load_package(model)
    clock = Clock()
    found = list(judge_all(packaged, find([str(line)]), batch=2, threads=3, clock=clock))
    names = [str(line / f"{'early' if i < 5 else 'late'}/{i}.png") for i in range(9)]
    assert [each.name for each in found] == names
    assert [type(each) is Unreadable for each in found] == [i == 3 for i in range(9)]
    good = [each for each in found if not isinstance(each, Unreadable)]
    expected = packaged.predict([each.name for each in good], maps="package")
    assert [each.score for each in good] == pytest.approx(list(expected["score"]), abs=1e-6)
    assert [each.anomalous for each in good] == list(expected["verdict"])
    assert np.stack([each.map for each in good]) == pytest.approx(expected["map"], abs=1e-6)
    assert clock.images == 8
    assert 0 < clock.network + clock.scoring + clock.waiting <= clock.total
    assert [each.score for each in tuner.predict(str(model), names[0])] == [good[0].score]


def test_a_long_stream_holds_a_few_batches_only(model):
    packaged, alive, most, done = load_package(model), [], 0, 0
    content = png(pictures(1)[0])

    def images():
        nonlocal most
        for index in range(200):
            most = max(most, index - done)
            yield Found(str(index), lambda: content)

    for each in judge_all(packaged, images(), batch=4, threads=2):
        done += 1
        alive = [ref for ref in (*alive, weakref.ref(each)) if ref() is not None]
        assert len(alive) <= 4
    assert done == 200 and most <= (AHEAD + 1) * 4


def test_places(model, line, tmp_path):
    assert len(find([str(line / "**" / "*.png")])) == 9
    assert [image.name for image in find([str(line / "late"), str(line / "early" / "0.png")])] == [
        *(str(line / "late" / f"{i}.png") for i in range(5, 9)),
        str(line / "early" / "0.png"),
    ]
    empty = tmp_path / "empty"
    empty.mkdir()
    for place in (str(tmp_path / "nowhere"), str(tmp_path / "*.gif"), str(empty)):
        with pytest.raises(DataError):
            find([place])
    with pytest.raises(DataError, match="no image"):
        find([])


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_the_command_writes_a_table_and_overlays(model, line, tmp_path, kind):
    out = tmp_path / "out"
    command = ["predict", str(model), str(line), "--out", str(out), "--format", kind, "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1, done.output
    said = json.loads(done.stdout)
    assert (said["images"], len(said["unreadable"])) == (8, 1)
    assert said["unreadable"][0]["name"].endswith("early/3.png") and "skipped" in done.stderr
    text = (out / f"predictions.{kind}").read_text()
    rows = (
        list(csv.DictReader(text.splitlines()))
        if kind == "csv"
        else [json.loads(row) for row in text.splitlines()]
    )
    assert len(rows) == 8 and {str(row["threshold"]) for row in rows} == {"1.5"}
    assert {(row["model"], row["version"]) for row in rows} == {("model", "")}
    for row in rows:
        assert float(row["score_over_threshold"]) == pytest.approx(float(row["score"]) / 1.5, 1e-5)
        assert (row["verdict"] == "anomalous") == (str(row["anomalous"]) == "True")
        assert 0 <= int(row["box_left"]) < int(row["box_left"]) + int(row["box_width"]) <= 40
    page = (out / "index.html").read_text()
    scores = [float(text) for text in re.findall(r"score ([\d.]+)<", page)]
    assert len(scores) == 8 and scores == sorted(scores, reverse=True)
    assert said["threshold"] == 1.5 and len(said["worst"]) == 5
    assert said["worst"][0]["image"] in page and page.index(said["worst"][0]["image"]) < page.index(
        said["worst"][1]["image"]
    )
    assert sum(str(row["anomalous"]) == "True" for row in rows) == said["anomalous"]
    with Image.open(out / rows[-1]["overlay"]) as overlay:
        assert min(overlay.size) >= 256 and overlay.width / overlay.height == 30 / 50
    assert not list(out.glob("*.part"))


def test_an_overlay_is_the_photograph_with_the_map_brought_to_it(model, tmp_path):
    """One bright corner in the map: in the photograph's own pixels, and there alone."""
    line = np.full((300, 480, 3), 128, np.uint8)
    line[::2] = 90  # lines that are lost at the size of the package
    (tmp_path / "line.png").write_bytes(png(line))
    packaged = load_package(model)
    (verdict,) = judge_all(packaged, find([str(tmp_path / "line.png")]))
    heat = np.zeros(SIZE, np.float32)
    heat[:6, :10] = 1
    made = replace(verdict, map=heat)
    found = write_all([made], tmp_path / "out", "csv", True)
    assert found.overlays is not None
    (file,) = found.overlays.iterdir()
    drawn = np.asarray(Image.open(file)).astype(int)
    assert drawn.shape == line.shape
    calm = drawn[150:, 240:]
    assert np.ptp(calm[0::2]) <= 40 and abs(calm[1::2] - calm[0::2]).min() >= 25
    hot, rest = drawn[:70, :110], drawn[80:, 130:]
    assert abs(hot.mean((0, 1)) - rest.mean((0, 1))).max() > 60

    (tmp_path / "line.png").unlink()
    write_all([made], tmp_path / "gone", "csv", True)
    (file,) = (tmp_path / "gone" / "overlays").iterdir()
    assert Image.open(file).size == (11 * SIZE[1], 11 * SIZE[0])
    large = partial(np.zeros, (3, 100, 5000), np.uint8)
    write_all([replace(made, photograph=large)], tmp_path / "large", "csv", True)
    (file,) = (tmp_path / "large" / "overlays").iterdir()
    assert Image.open(file).size == (2048, 40)


def test_odd_names_cost_nobody_the_table(model, tmp_path):
    root = tmp_path / "line"
    root.mkdir()
    names = [b"Pr\xfcf.png", b"a" * 245 + b".png", "ü".encode() * 120 + b".png", b"q'\"\n.png"]
    for index, name in enumerate(names):
        with open(os.fsencode(root) + b"/" + name, "wb") as file:
            file.write(png(pictures(1, seed=index)[0]))
    for kind in ("csv", "jsonl"):
        out = tmp_path / kind
        done = CliRunner().invoke(
            app, ["predict", str(model), str(root), "--out", str(out), "--format", kind]
        )
        assert done.exit_code == 0, done.output
        text = (out / f"predictions.{kind}").read_bytes().decode()
        rows = (
            list(csv.DictReader(io.StringIO(text, newline="")))
            if kind == "csv"
            else [json.loads(row) for row in text.splitlines()]
        )
        assert len(rows) == 4 and all((out / row["overlay"]).is_file() for row in rows)
        assert sum("\udcfc" in row["image"] or "\\udcfc" in row["image"] for row in rows) == 1


def test_overlays_of_an_earlier_run_give_way(model, line, tmp_path):
    out = tmp_path / "out"

    def drawn(*arguments: str) -> list[str]:
        CliRunner().invoke(app, ["predict", str(model), *arguments, "--out", str(out)])
        return sorted(path.name for path in (out / "overlays").iterdir())

    assert len(drawn(str(line))) == 8
    (out / "overlays" / "mine.png").write_bytes(b"x")
    assert drawn(str(line / "late" / "7.png")) == ["000000-7.png", "mine.png"]
    assert drawn(str(line), "--batch", "0") == ["000000-7.png", "mine.png"]
    assert drawn(str(line), "--no-overlays") == ["mine.png"]
    assert sorted(path.name for path in out.iterdir()) == [
        "index.html", "overlays", "predictions.csv",
    ]  # fmt: skip


def test_patterns_leave_out_what_systems_left_and_do_not_go_round(line):
    thumb = line / "early" / "@eaDir" / "0.png"
    thumb.mkdir(parents=True)
    (thumb / "SYNOPHOTO_THUMB_XL.png").write_bytes(png(pictures(1)[0]))
    (line / "late" / "again").symlink_to(line)
    assert len(find([str(line / "**" / "*.png")])) == 9 and len(find([str(line)])) == 9
    assert len(find([str(line / "early" / "@eaDir" / "*" / "*.png")])) == 1
    assert len(find([str(line / "late" / ".." / "late" / "*.png")])) == 4
    assert len(find([(line / "late").as_uri(), str(line / "early" / "0.png")])) == 5


def test_a_stream_that_fails_leaves_no_table(model, line, tmp_path):
    command = ["predict", str(model), str(line), "--out", str(tmp_path / "out"), "--batch", "0"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2 and "must be at least 1" in done.stderr
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_file()]


def test_the_box_is_that_of_the_hottest_region_in_the_photograph():
    heat = np.zeros((8, 10), np.float32)
    heat[2:4, 1:3] = 1  # and a larger, cooler one elsewhere
    heat[5:8, 5:10] = 0.4
    assert hottest_box(heat, (8, 10)) == (1, 2, 2, 2)
    assert hottest_box(heat, (80, 200)) == (20, 20, 40, 20)
    assert hottest_box(np.zeros((4, 4), np.float32), (8, 8)) == (0, 0, 8, 8)


def test_a_request_holds_files_or_arrays(model):
    packaged, file = load_package(model), png(pictures(1, (50, 30))[0])
    text = base64.b64encode(file).decode()
    form = (
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + file + b"\r\n--x\r\n"
        b'Content-Disposition: form-data; name="map"\r\n\r\ntrue\r\n--x--\r\n'
    )
    json_kind, score = "application/json", packaged.predict(file)["score"].tolist()
    requests = [
        (file, "image/png", False),
        (file, "application/x-www-form-urlencoded", False),
        (form, "multipart/form-data; boundary=x", True),
        (json.dumps({"images": [text]}).encode(), json_kind, False),
        (json.dumps({"inputs": ["data:image/png;base64," + text]}).encode(), json_kind, False),
        (
            json.dumps({"images": text, "map": True}).encode(),
            "application/json; charset=utf-8",
            True,
        ),
    ]
    for body, kind, maps in requests:
        asked = asked_of(body, kind)
        assert asked is not None
        said = json.loads(judged(packaged, asked))["predictions"]
        assert said["score"] == score and ("map" in said) is maps, kind
    assert np.shape(said["map"]) == (1, *SIZE)
    assert said["score_over_threshold"] == [score[0] / 1.5]
    arrays = json.dumps({"inputs": np.zeros((1, 4, 4, 3), int).tolist()}).encode()
    assert asked_of(arrays, json_kind) is None and asked_of(b"a,b", "text/csv") is None
    for body, kind, reason in (
        (b'{"images": ["no base64!"]}', json_kind, "image 0 is not base64"),
        (b'{"images": [3]}', json_kind, "must be a list of texts"),
        (b'{"images": [', json_kind, "no JSON"),
        (b"", "image/png", "empty"),
        (b"--x--", "multipart/form-data; boundary=x", "holds no image"),
    ):
        with pytest.raises(ValueError, match=reason):
            asked_of(body, kind)
    with pytest.raises(ValueError, match="image 0: not a readable image"):
        judged(packaged, asked_of(b"GIF89a", "image/gif"))


def test_benchmark_measures_and_writes_nothing(model, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = str(line / "late")
    done = CliRunner().invoke(app, ["predict", str(model), good, "--benchmark"])
    assert done.exit_code == 0, done.output
    assert "images per second" in done.stdout and "in the network" in done.stdout
    assert not (tmp_path / "predictions").exists()


def test_models_that_do_not_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("TUNER_HOME", str(tmp_path / "empty"))
    for name, reason in (
        ("tile@champion", "there is no registry"),
        ("tile/3", "there is no registry"),
        ("nothing", "no model is called"),
    ):
        done = CliRunner().invoke(app, ["predict", name, str(tmp_path)])
        assert done.exit_code == 2 and reason in done.stderr
    write_toy(tmp_path / "m")
    with pytest.raises(ValueError, match="device is 'tpu'"):
        tuner.load(str(tmp_path / "m"), device="tpu")
    assert count_all([]).images == 0
