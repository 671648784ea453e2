from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.data.conftest import pixels, save, write_csv
from tuner.data import DataError, prepare
from tuner.data.cache import kept, load
from tuner.data.preparation import Prepared
from tuner.data.tree import FolderTree

SIZE = (16, 32)


def made(location: Path, category: str, cache: Path) -> Prepared:
    return prepare(str(location), category, SIZE, cache, jobs=2)


def same_images(one: Prepared, other: Prepared) -> bool:
    return (
        np.array_equal(one.train, other.train)
        and np.array_equal(one.test, other.test)
        and one.fingerprint == other.fingerprint
        and one.test_hashes == other.test_hashes
    )


def refused(location: Path, cache: Path, size: tuple[int, int] | None = SIZE) -> str:
    with pytest.raises(DataError) as error:
        prepare(str(location), "bolts", size, cache)
    return str(error.value)


@pytest.mark.parametrize(
    ("layout", "category", "counts"),
    [("mvtec", "nut", (6, 7)), ("visa", "candle", (5, 4)), ("plain", "bolts", (5, 4))],
)
def test_every_layout_becomes_arrays(
    layout: str,
    category: str,
    counts: tuple[int, int],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    location = request.getfixturevalue(layout)
    found = made(location, category, tmp_path / "cache")
    assert (found.layout, found.demo, found.category) == (layout, False, category)
    assert found.size == SIZE
    assert found.train.shape == (counts[0], 3, *SIZE) and found.train.dtype == np.uint8
    assert found.test.shape == (counts[1], 3, *SIZE) and found.test.dtype == np.uint8
    assert list(found.train_hashes) == sorted(found.train_hashes)
    assert list(found.test_hashes) == sorted(found.test_hashes)
    assert found.warnings == ()


def test_pixels_are_those_of_the_files(plain: Path, tmp_path: Path) -> None:
    found = prepare(str(plain), "bolts", None, tmp_path)
    assert found.size == (20, 24)
    wanted = sorted(pixels(index).transpose(2, 0, 1).tobytes() for index in range(5))
    assert sorted(image.tobytes() for image in found.train) == wanted


def test_names_folders_and_order_do_not_matter(mvtec: Path, tmp_path: Path) -> None:
    before = made(mvtec, "nut", tmp_path / "cache")
    other = tmp_path / "other"
    shutil.copytree(mvtec, other)
    nut = other / "nut"
    (nut / "test/bent").rename(nut / "test/aaa")
    for index, path in enumerate(sorted((nut / "test/good").iterdir())):
        path.rename(nut / f"test/zzz{index}.png")
    shutil.rmtree(nut / "test/good")
    (nut / "test/good").mkdir()
    for path in sorted((nut / "test").glob("zzz*.png")):
        path.rename(nut / "test/scratch" / path.name)
    assert same_images(before, made(other, "nut", tmp_path / "cache"))


def test_layouts_with_the_same_images_have_the_same_fingerprint(
    mvtec: Path, tmp_path: Path
) -> None:
    flat = tmp_path / "flat"
    (flat / "unlabelled").mkdir(parents=True)
    shutil.copytree(mvtec / "nut/train/good", flat / "normal")
    for index, path in enumerate(sorted((mvtec / "nut/test").rglob("*.png"))):
        shutil.copy(path, flat / f"unlabelled/{index}.png")
    cache = tmp_path / "cache"
    assert same_images(made(mvtec, "nut", cache), made(flat, "flat", cache))


def test_another_content_is_another_fingerprint(plain: Path, tmp_path: Path) -> None:
    before = made(plain, "bolts", tmp_path / "cache")
    save(plain / "normal/n0.png", pixels(999))
    after = made(plain, "bolts", tmp_path / "cache")
    assert before.fingerprint != after.fingerprint and before.path != after.path
    moved = tmp_path / "moved/bolts"
    shutil.copytree(plain, moved)
    (moved / "normal/n1.png").rename(moved / "unlabelled/n1.png")
    assert made(moved, "bolts", tmp_path / "cache").fingerprint != after.fingerprint


def test_ground_truth_is_never_read(
    mvtec: Path, visa: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = FolderTree.read

    def watched(tree: FolderTree, path: str) -> bytes:
        read.append(path)
        return original(tree, path)

    monkeypatch.setattr(FolderTree, "read", watched)
    first = made(mvtec, "nut", tmp_path / "one"), made(visa, "candle", tmp_path / "one")
    assert read and not any("ground_truth" in path or "Masks" in path for path in read)
    for mask in (*mvtec.rglob("*_mask.png"), *visa.rglob("Masks/*/*.png")):
        mask.write_bytes(b"garbled")
    split = (visa / "split_csv/1cls.csv").read_text()
    swapped = split.replace("normal", "other").replace("anomaly", "normal")
    (visa / "split_csv/1cls.csv").write_text(swapped)
    garbled = made(mvtec, "nut", tmp_path / "two"), made(visa, "candle", tmp_path / "two")
    shutil.rmtree(mvtec / "nut/ground_truth")
    shutil.rmtree(visa / "candle/Data/Masks")
    gone = made(mvtec, "nut", tmp_path / "three"), made(visa, "candle", tmp_path / "three")
    for index in range(2):
        assert same_images(first[index], garbled[index])
        assert same_images(first[index], gone[index])


def test_visa_needs_no_label_column(visa: Path, tmp_path: Path) -> None:
    before = made(visa, "candle", tmp_path / "one")
    lines = [line.split(",") for line in (visa / "split_csv/1cls.csv").read_text().split()]
    write_csv(visa / "split_csv/1cls.csv", [[line[0], line[1], line[3]] for line in lines])
    assert same_images(before, made(visa, "candle", tmp_path / "two"))


def test_the_cache_is_used_while_contents_are_the_same(plain: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        calls.append((done, total))

    first = prepare(str(plain), "bolts", SIZE, tmp_path / "c", progress=progress)
    assert calls == [(done, 9) for done in range(1, 10)]
    calls.clear()
    second = prepare(str(plain), "bolts", SIZE, tmp_path / "c", progress=progress)
    assert not calls and second.path == first.path and same_images(first, second)
    assert prepare(str(plain), "bolts", (32, 16), tmp_path / "c").path != first.path


def test_writing_to_the_arrays_leaves_the_cache_alone(plain: Path, tmp_path: Path) -> None:
    first = made(plain, "bolts", tmp_path / "c")
    kept_before = np.array(first.train)
    first.train[:] = 0
    assert np.array_equal(made(plain, "bolts", tmp_path / "c").train, kept_before)


@pytest.mark.parametrize("name", ["train.npy", "notes.json"])
def test_a_damaged_cache_is_made_anew(plain: Path, tmp_path: Path, name: str) -> None:
    first = made(plain, "bolts", tmp_path / "c")
    wanted = np.array(first.train)
    content = (first.path / name).read_bytes()
    (first.path / name).unlink()
    (first.path / name).write_bytes(content[: len(content) // 2])
    assert np.array_equal(made(plain, "bolts", tmp_path / "c").train, wanted)


def test_a_cache_entry_is_complete_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache" / "entry"

    def broken() -> tuple[dict[str, np.ndarray], dict[str, object]]:
        raise RuntimeError("decoder died")

    with pytest.raises(RuntimeError):
        kept(folder, broken)
    assert load(folder) is None and not folder.exists()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DataError, match=r"No space left.*free space"):
        kept(folder, lambda: ({"a": np.zeros(3)}, {}))
    assert not [path for path in folder.parent.iterdir() if path.is_dir()]


def test_two_at_once_make_an_entry_once(tmp_path: Path) -> None:
    calls: list[int] = []
    gate = threading.Event()

    def make() -> tuple[dict[str, np.ndarray], dict[str, object]]:
        calls.append(1)
        gate.wait(5)
        return {"a": np.arange(3)}, {"note": "x"}

    found: list[object] = []
    workers = [
        threading.Thread(target=lambda: found.append(kept(tmp_path / "e", make)[1]))
        for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    gate.set()
    for worker in workers:
        worker.join()
    assert len(calls) == 1 and found == [{"note": "x"}] * 3


def test_a_cache_that_is_a_file_is_refused(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "c").write_text("")
    assert "cannot be written" in refused(plain, tmp_path / "c")


def test_a_few_unreadable_images_are_left_out_with_a_count(plain: Path, tmp_path: Path) -> None:
    for index in range(20):
        save(plain / f"normal/more{index}.png", pixels(2000 + index))
    (plain / "normal/n1.png").write_bytes(b"not an image")
    found = made(plain, "bolts", tmp_path)
    assert len(found.train) == 24
    assert len(found.warnings) == 1
    said = found.warnings[0]
    assert said.startswith("1 of 25 training images cannot be read (normal/n1.png: not a readable")


def test_unreadable_test_images_are_never_named(mvtec: Path, tmp_path: Path) -> None:
    for index in range(10):
        save(mvtec / f"nut/test/good/x{index}.png", pixels(3000 + index))
    (mvtec / "nut/test/scratch/000.png").write_bytes(b"")
    found = made(mvtec, "nut", tmp_path)
    assert len(found.test) == 16
    (said,) = found.warnings
    assert said.startswith("1 of 17 test images cannot be read (1: not a readable image: its")
    assert said.endswith("and were left out") and "000" not in said and "scratch" not in said


def test_many_unreadable_images_are_an_error(plain: Path, tmp_path: Path) -> None:
    for name in ("n0", "n1"):
        (plain / f"normal/{name}.png").write_bytes(b"")
    said = refused(plain, tmp_path)
    assert "2 of 5 training images cannot be read" in said and "at most 20%" in said


def test_mixed_sizes_are_resized_with_a_warning_or_refused(plain: Path, tmp_path: Path) -> None:
    save(plain / "normal/n0.png", pixels(1, 40, 30))
    found = made(plain, "bolts", tmp_path)
    assert found.size == SIZE
    assert "2 sizes (8 of 20 x 24, 1 of 40 x 30, height x width)" in found.warnings[0]
    assert "give --size, for example --size 20x24" in refused(plain, tmp_path, None)
    assert "8x8, but must be" in refused(plain, tmp_path, (8, 8))


def test_sixteen_bits_are_taken_at_full_scale(tmp_path: Path) -> None:
    root = tmp_path / "bolts"
    for folder in ("normal", "unlabelled"):
        (root / folder).mkdir(parents=True)
        for index in range(4):
            level = 257 * (10 + index + (100 if folder == "normal" else 0))
            Image.fromarray(np.full((16, 16), level, np.uint16)).save(
                root / folder / f"{index}.png"
            )
    found = prepare(str(root), "bolts", None, tmp_path)
    assert sorted(found.train[:, 0, 0, 0]) == [110, 111, 112, 113]
    assert sorted(found.test[:, 1, 3, 3]) == [10, 11, 12, 13]
    assert found.warnings == ()


def test_twelve_bit_cameras_are_recognised_over_the_whole_set(tmp_path: Path) -> None:
    root = tmp_path / "bolts"
    for folder, level in (("normal", 1000), ("unlabelled", 4000)):
        (root / folder).mkdir(parents=True)
        for index in range(4):
            image = np.full((16, 16, 3), level + index, np.uint16)
            tifffile.imwrite(root / folder / f"{index}.tif", image, photometric="rgb")
    found = prepare(str(root), "bolts", None, tmp_path)
    assert set(found.train.ravel()) == {62}  # 1000 to 1003 of 4095
    assert set(found.test.ravel()) == {249}
    assert "8 images have 16 bits a sample, but no sample above 4003" in found.warnings[0]
    assert "12-bit" in found.warnings[0]


def test_repeated_normals_count_once_and_shared_images_are_told(
    plain: Path, tmp_path: Path
) -> None:
    shutil.copy(plain / "normal/n0.png", plain / "normal/again.png")
    shutil.copy(plain / "normal/n1.png", plain / "unlabelled/n1.png")
    found = made(plain, "bolts", tmp_path)
    assert len(found.train) == 5 and len(found.test) == 5
    assert found.warnings[0].startswith("1 of 6 training images repeat another one")
    assert found.warnings[1].startswith("1 images are in the test batch and among the normal")


def deep_set(root: Path, make: Callable[[int], np.ndarray]) -> Path:
    for folder, start in (("normal", 0), ("unlabelled", 50)):
        (root / folder).mkdir(parents=True)
        for index in range(6):
            Image.fromarray(make(start + index)).save(root / folder / f"{index}.png")
    return root


def noise(low: int, high: int) -> Callable[[int], np.ndarray]:
    def made(seed: int) -> np.ndarray:
        samples = np.random.default_rng(seed).integers(low, high + 1, (40, 40)).astype(np.uint16)
        # A hot pixel and a dead one, in every image.
        samples[3, 5], samples[7, 7] = 65535, 0
        return samples

    return made


@pytest.mark.parametrize(
    ("low", "high", "scale", "said"),
    [
        (200, 1000, (0, 1023), "10-bit images"),
        (200, 4000, (0, 4095), "12-bit images"),
        (900, 15000, (0, 16383), "14-bit images"),
        (3000, 60000, (0, 65535), ""),
        (51200, 52200, (50950, 52450), "is spread over the 256 levels"),
        (1000, 1019, (996, 1023), "20 levels are few"),
    ],
)
def test_one_scale_for_all_sixteen_bit_images_whatever_single_pixels_hold(
    low: int, high: int, scale: tuple[int, int], said: str, tmp_path: Path
) -> None:
    root = deep_set(tmp_path / "bolts", noise(low, high))
    found = prepare(str(root), "bolts", None, tmp_path / "c")
    assert (found.floor, found.ceiling) == pytest.approx(scale, abs=4)
    levels = len(np.unique(found.train))
    assert levels > (15 if high - low < 100 else 150)
    assert said in "".join(found.warnings) and bool(said) == bool(found.warnings)


def test_a_study_of_an_earlier_version_keeps_its_pixels(tmp_path: Path) -> None:
    root = deep_set(tmp_path / "bolts", noise(51200, 52200))
    before = prepare(str(root), "bolts", None, tmp_path / "c", recipe=2)
    assert (before.floor, before.ceiling) == (0, 65535) and before.warnings == ()
    assert set(before.train[:, 0, 0, 0]) <= {199, 200, 201, 202, 203}
    plain = deep_set(tmp_path / "plain/bolts", pixels)
    old, new = (
        prepare(str(plain), "bolts", SIZE, tmp_path / "c", recipe=recipe) for recipe in (2, 3)
    )
    assert same_images(old, new) and old.path != new.path


def test_what_is_odd_about_the_pixels_is_told(tmp_path: Path) -> None:
    def mixed(seed: int) -> np.ndarray:
        if seed % 50 == 0:
            return pixels(seed)[..., 0]
        alpha = np.full((20, 24, 1), 255, np.uint8)
        alpha[:5] = 0 if seed % 50 == 1 else 255
        return np.concatenate([pixels(seed), alpha], -1)

    root = deep_set(tmp_path / "bolts", mixed)
    clear, grey = prepare(str(root), "bolts", SIZE, tmp_path / "c").warnings
    assert clear == "2 images have transparent parts, which are taken as black"
    assert "2 of 12 images are grey and the others colour (1 of the normal, 1 of the" in grey
    alike = deep_set(
        tmp_path / "alike/bolts",
        lambda seed: (
            np.full((20, 24), 90 + seed // 50, np.uint8)
            + np.eye(20, 24, seed % 50).astype(np.uint8)
        ),
    )
    (said,) = prepare(str(alike), "bolts", SIZE, tmp_path / "c").warnings
    assert said.startswith("the images use 2 of 256 levels") or "3 of 256 levels" in said


def test_what_is_lost_of_another_shape_is_told(plain: Path, tmp_path: Path) -> None:
    for path in plain.rglob("*.png"):
        save(path, pixels(len(path.name) + ord(path.stem[-1]), 40, 400))
    (said,) = prepare(str(plain), "bolts", (64, 64), tmp_path / "c").warnings[:1]
    assert "9 of 40 x 400" in said and "0.625 rows and 6.25 columns" in said
    assert "distorted 10 times" in said and "--size 16x160 keeps their shape" in said
    assert not [
        w for w in prepare(str(plain), "bolts", (16, 160), tmp_path / "c").warnings if "shape" in w
    ]
