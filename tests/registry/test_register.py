"""Registration in a real SQLite store, and loading in a process that knows nothing."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from methods.contract import unit
from methods.filtering_autoencoder.detector import FilteringDetector
from methods.networks.unet import UNet
from tests.registry.conftest import write_toy
from tuner.addresses import local_path
from tuner.registry import PackageError, RegistryError, load_package, register_winner, save_package
from tuner.registry.locate import locate
from tuner.registry.register import model_name, package_digest
from tuner.registry.versions import Version, all_versions, by_alias, fetch, speaking_to
from tuner.study.home import Home
from tuner.tracking import Tracker, default_artifacts, default_uri
from tuner.tracking.store import make_client

LOADER = """
import sys
import numpy as np
import mlflow
images = np.load(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/tile@challenger")
found = model.predict(images)
ragged = np.empty(2, dtype=object)
ragged[:] = [images[0], open(sys.argv[3], "rb").read()]
assert np.array_equal(model.predict(ragged)["score"][:1], found["score"][:1])
raw = model.get_raw_model().predict([sys.argv[3], images[1]])
assert np.array_equal(raw["score"][1:], found["score"][1:2])
np.savez(sys.argv[2], **found)
"""

RACER = """
import sys
from pathlib import Path
import tests.registry.toys
from tuner.registry import register_winner
import mlflow
uri, run, folder = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
print(register_winner(uri, run, Path(folder), "raced", {}).version)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> tuple[Path, Tracker, str]:
    home = tmp_path_factory.mktemp("home")
    tracker = Tracker(default_uri(home), default_artifacts(home))
    return home, tracker, tracker.start_study("s", {}, {})


def run_of(store, number: int) -> str:
    return store[1].start_trial(store[2], number, {}, {})


def fresh(code: str, uri: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.heavy
def test_a_registered_autoencoder_predicts_in_a_fresh_process(store, tmp_path):
    from PIL import Image

    torch.manual_seed(0)
    size = (32, 48)
    detector = FilteringDetector(UNet(8, 3, True, size), size)
    scoring = {"discrepancy": "mse", "pooling": "max"}
    save_package(
        tmp_path / "package",
        method="fae",
        hyperparameters={"width": 8, "kernel": 3, "skips": True},
        scoring=scoring,
        weights=detector.weights(),
        size=size,
        threshold=0.25,
        false_positive_rate=0.05,
        held_out_scores=[0.1, 0.2],
        category="tile",
        study="s",
        fingerprint="abc",
        versions={},
    )
    found = register_winner(store[1], run_of(store, 0), tmp_path / "package", "tile", {"a": "b"})
    assert (found.name, found.version, found.alias) == ("tile", 1, "challenger")
    assert found.uri == "models:/tile@challenger"

    images = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    Image.fromarray(images[2]).save(tmp_path / "image.png")
    process = fresh(
        LOADER, store[1].uri, tmp_path / "images.npy", tmp_path / "out", tmp_path / "image.png"
    )
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    out = np.load(tmp_path / "out.npz")
    batch = unit(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert out["score"] == pytest.approx(detector.scores(batch, scoring).double().numpy(), 1e-6)
    assert out["map"] == pytest.approx(detector.maps(batch, scoring).numpy(), 1e-5, 1e-8)
    assert np.array_equal(out["verdict"], out["score"] > 0.25)


def test_the_model_belongs_to_the_run_and_holds_no_pickle(store, tmp_path):
    write_toy(tmp_path)
    run = run_of(store, 1)
    found = register_winner(store[1], run, tmp_path, "cable", {"tuner.trial": "1"})
    client = make_client(store[1].uri)
    version = client.get_model_version_by_alias("cable", "challenger")
    assert version.run_id == run and int(version.version) == found.version == 1
    assert version.tags["tuner.trial"] == "1" and version.tags["tuner.fingerprint"] == "abc"
    outputs = client.get_run(run).outputs.model_outputs
    assert [o.model_id for o in outputs] == [version.tags["tuner.logged_model"]]
    files = [path.name for path in store[0].rglob("*") if path.is_file()]
    assert "detector.safetensors" in files and "MLmodel" in files
    assert not [name for name in files if name.endswith((".pkl", ".pt", ".pth", ".bin"))]


def test_the_signature_refuses_what_is_no_picture(store, tmp_path, monkeypatch):
    import mlflow

    write_toy(tmp_path)
    register_winner(store[1], run_of(store, 2), tmp_path, "signed", {})
    client = make_client(store[1].uri)
    source = client.get_model_version_download_uri("signed", "1")
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store[1].uri)
        patch.setenv("MLFLOW_REGISTRY_URI", store[1].uri)
        model = mlflow.pyfunc.load_model(source)
    assert {spec.name for spec in model.metadata.signature.outputs} == {
        "score", "verdict", "map", "threshold", "false_positive_rate", "score_over_threshold",
    }  # fmt: skip
    assert model.predict(np.zeros((1, 9, 9, 3), np.uint8))["map"].shape == (1, 24, 40)
    with pytest.raises(mlflow.MlflowException, match="dtype"):
        model.predict(np.zeros((1, 9, 9, 3)))
    assert model.input_example.dtype == np.uint8


def test_registering_again_changes_nothing_and_another_package_is_a_new_version(store, tmp_path):
    write_toy(tmp_path / "a")
    write_toy(tmp_path / "b", threshold=3.0)
    run, other = run_of(store, 3), run_of(store, 4)
    first = register_winner(store[1], run, tmp_path / "a", "grid", {})
    assert register_winner(store[1], run, tmp_path / "a", "grid", {}) == first
    second = register_winner(store[1].uri, other, tmp_path / "b", "grid", {})
    assert (first.version, second.version) == (1, 2)
    register_winner(store[1], run, tmp_path / "a", "grid", {})
    client = make_client(store[1].uri)
    assert int(client.get_model_version_by_alias("grid", "challenger").version) == 2


@pytest.mark.heavy
def test_two_processes_at_once_get_a_version_each(store, tmp_path):
    runs = [run_of(store, 5), run_of(store, 6)]
    for index in range(2):
        write_toy(tmp_path / str(index), threshold=1.0 + index)
    processes = [
        fresh(RACER, store[1].uri, store[1].uri, run, tmp_path / str(index))
        for index, run in enumerate(runs)
    ]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    versions = []
    for process in processes:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        versions.append(int(out))
    assert sorted(versions) == [1, 2]
    client = make_client(store[1].uri)
    assert int(client.get_model_version_by_alias("raced", "challenger").version) == 2


def test_no_active_run_and_no_global_store_are_touched(store, tmp_path):
    import mlflow

    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    write_toy(tmp_path)
    register_winner(store[1], run_of(store, 7), tmp_path, "still", {})
    assert mlflow.active_run() is None
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) == before


def test_a_broken_package_is_not_registered(store, tmp_path):
    write_toy(tmp_path)
    (tmp_path / "detector.safetensors").write_bytes(b"")
    with pytest.raises(PackageError, match="damaged"):
        register_winner(store[1], run_of(store, 8), tmp_path, "broken", {})
    client = make_client(store[1].uri)
    assert not client.search_model_versions("name='broken'")


def test_a_registry_that_is_away(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    write_toy(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(RegistryError, match="the package is kept in"):
        register_winner(uri, "abc", tmp_path, "tile", {})
    tracker = Tracker(uri, None)
    run = tracker.start_trial(tracker.start_study("s", {}, {}), 0, {}, {})
    with pytest.raises(RegistryError, match="not in http"):
        register_winner(tracker, run, tmp_path, "tile", {})


@pytest.mark.parametrize(
    ("category", "name"),
    [
        ("tile", "tile"),
        ("a/b:c@d", "a-b-c-d"),
        ("", "model"),
        ("o'ring", "o'ring"),
        ('M8 3/8"', 'M8 3-8"'),
        ("""a'b"c""", "a'b-c"),
        ("a\\b\nc", "a-b-c"),
    ],
)
def test_names_of_models(category, name):
    assert model_name(category) == name


@pytest.mark.parametrize("category", ["o'ring", '3"', "a;b--c", "50% ü", "x" * 249])
def test_a_category_of_any_name_gets_its_alias(store, tmp_path, category):
    write_toy(tmp_path)
    made = register_winner(store[1], run_of(store, 20), tmp_path, category, {})
    with speaking_to(store[1].uri) as client:
        found = by_alias(client, category, "challenger")
        assert found is not None and found.number == made.version
        assert [version.number for version in all_versions(client, category)] == [made.version]


@pytest.mark.parametrize(
    "name", ["home-with space", "home-ü", "home-line #3", "home-50%41", "a?b{c}"]
)
def test_a_home_of_any_name_keeps_its_models_and_so_it_does_when_moved(
    tmp_path, name, tracking_tables
):
    write_toy(tmp_path / "toy")
    home, moved = tmp_path / name, tmp_path / "elsewhere" / name
    home.mkdir()
    shutil.copy(tracking_tables, home)
    tracker = Tracker(default_uri(home), default_artifacts(home))
    run = tracker.start_trial(tracker.start_study("s", {}, {}), 0, {}, {})
    register_winner(tracker, run, tmp_path / "toy", "tile", {})
    assert load_package(locate("tile/1", Home(home), default_uri(home)).folder)
    tracker.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((name, "toy"))
    moved.parent.mkdir()
    home.rename(moved)
    found = locate("tile@challenger", Home(moved), default_uri(moved))
    assert found.folder.is_relative_to(moved) and load_package(found.folder)
    # What is begun after the move lies in the new home, too, and so does what the store had.
    tracker = Tracker(default_uri(moved), default_artifacts(moved))
    (moved / "note.txt").write_text("x")
    tracker.log_artifacts(run, moved / "studies", "none")
    tracker.start_study("s2", {}, {})
    assert tracker.close() == 0 and not home.exists()
    client = make_client(default_uri(moved))
    source = client.get_model_version("tile", "1").source
    assert source.startswith(default_artifacts(moved)) and local_path(source).is_dir()
    assert client.get_run(run).info.artifact_uri.startswith(default_artifacts(moved))


class Elsewhere:
    """A registry whose one version has its files in a bucket, and that bucket."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, 0
        tags = {"tuner.package": package_digest(folder / "data/package")}
        self.version = Version("tile", 1, tags)

    def get_model_version_download_uri(self, name: str, version: str) -> str:
        return "s3://bucket/models/1"

    def download(self, artifact_uri: str, dst_path: str, tracking_uri: str) -> str:
        self.asked += 1
        return str(shutil.copytree(self.folder, Path(dst_path) / "artifacts"))


@pytest.mark.parametrize("spoil", ["cut", "flipped", "gone", "no-package", "empty", None])
def test_a_copy_of_a_package_that_is_damaged_is_fetched_again(tmp_path, monkeypatch, spoil):
    write_toy(tmp_path / "bucket/data/package")
    there, models = Elsewhere(tmp_path / "bucket"), tmp_path / "home/models"
    monkeypatch.setattr("mlflow.artifacts.download_artifacts", there.download)
    copy = fetch(there, "http://x", there.version, models)
    weights = copy / "detector.safetensors"
    content = weights.read_bytes()
    if spoil == "cut":
        weights.write_bytes(content[:-1])
    elif spoil == "flipped":
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif spoil == "gone":
        weights.unlink()
    elif spoil == "no-package":
        (copy / "package.json").unlink()
    elif spoil == "empty":
        shutil.rmtree(copy)
    assert fetch(there, "http://x", there.version, models) == copy
    assert there.asked == (1 if spoil is None else 2)
    assert weights.read_bytes() == content and load_package(copy)
    assert len(list(models.iterdir())) == 1, "nothing half-made is left"


def test_a_copy_that_cannot_be_fetched_again_is_named_with_its_cure(tmp_path, monkeypatch):
    write_toy(tmp_path / "bucket/data/package")
    there, models = Elsewhere(tmp_path / "bucket"), tmp_path / "home/models"
    monkeypatch.setattr("mlflow.artifacts.download_artifacts", there.download)
    weights = fetch(there, "http://x", there.version, models) / "detector.safetensors"
    weights.write_bytes(b"torn")
    (there.folder / "data/package/detector.safetensors").write_bytes(b"torn too")
    with pytest.raises(RegistryError, match=r"1 of tile is damaged where the registry .* backup"):
        fetch(there, "http://x", there.version, models)

    def away(**options: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr("mlflow.artifacts.download_artifacts", away)
    with pytest.raises(RegistryError, match=r"1 of tile is damaged in .*(no route to host).*try"):
        fetch(there, "http://x", there.version, models)
    assert weights.read_bytes() == b"torn" and len(list(models.iterdir())) == 1


def test_the_packaged_toy_survives_registration(store, tmp_path):
    """What the registry keeps is what was packaged, byte for byte."""
    write_toy(tmp_path)
    register_winner(store[1], run_of(store, 9), tmp_path, "kept", {})
    client = make_client(store[1].uri)
    version = client.get_model_version_by_alias("kept", "challenger")
    model = client.get_logged_model(version.tags["tuner.logged_model"])
    root = Path(model.artifact_location.removeprefix("file://"))
    (copy,) = (path.parent for path in root.rglob("package.json"))
    image = np.full((1, 24, 40, 3), 90, np.uint8)
    assert (
        load_package(copy).predict(image)["score"] == load_package(tmp_path).predict(image)["score"]
    )
