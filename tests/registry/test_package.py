"""Packages: what goes in comes out, and bad ones are refused."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from methods.contract import unit
from methods.registry import get_method
from tests.methods import conformance
from tests.registry.conftest import SIZE, write_toy
from tuner.registry import PackageError, load_package, read_package
from tuner.registry.package import PACKAGE_FILE, WEIGHTS_FILE


def pictures(count: int, size=SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_predictions_equal_the_detector(toy):
    folder, detector = toy
    images = pictures(70)  # more than one batch
    batch = unit(torch.from_numpy(images).permute(0, 3, 1, 2))
    scores = detector.scores(batch, {"pooling": "max"}).double().numpy()
    threshold = float(np.median(scores))
    write_toy(folder, threshold=threshold)
    found = load_package(folder).predict(images)
    assert found["score"].dtype == np.float64 and np.array_equal(found["score"], scores)
    assert found["map"].dtype == np.float32
    assert np.array_equal(found["map"], detector.maps(batch, {}).numpy())
    assert np.array_equal(found["verdict"], scores > threshold)
    assert found["verdict"].dtype == bool and found["verdict"].sum() == 35


def test_every_form_of_the_same_image_gets_the_same_answer(toy, tmp_path):
    packaged = load_package(toy[0])
    pixels = pictures(1)[0]
    path = tmp_path / "image.png"
    path.write_bytes(png(pixels))
    forms = [
        pixels,
        pixels[None],
        [pixels],
        pixels / 255.0,
        (pixels / 255.0).astype(np.float32)[None],
        path,
        str(path),
        [path, png(pixels), pixels][:1],
        png(pixels),
        np.array([str(path)], dtype=object),
        pixels.astype(np.uint16) * 257,
        pixels.astype(">u2") * 257,
        np.dstack([pixels, np.full((*SIZE, 1), 255, np.uint8)]),
        Image.fromarray(pixels),
        [Image.open(path)],
    ]
    expected = packaged.predict(pixels)
    for form in forms:
        found = packaged.predict(form)
        assert found["map"].shape == (1, *SIZE)
        assert found["score"] == pytest.approx(expected["score"], abs=0)


def test_images_are_repaired_where_a_mask_says_so(tmp_path):
    method, data = get_method("energy-projection"), conformance.images((32, 32))
    detector = conformance.fitted(method, data)[-1].detector
    scoring = conformance.grid_of(method)[0]
    write_toy(
        tmp_path / "package", method="energy-projection", size=(32, 32), scoring=scoring,
        hyperparameters=conformance.small(method), weights=detector.weights(),
    )  # fmt: skip
    packaged = load_package(tmp_path / "package", "cpu")
    images = pictures(34, (32, 32))  # more than one batch
    mask = np.zeros((64, 64), bool)
    mask[16:32, 16:24] = True
    inside = mask[::2, ::2]
    repaired = packaged.inpaint(images, mask, iterations=2)
    assert repaired.dtype == np.uint8 and repaired.shape == images.shape
    assert np.array_equal(repaired[:, ~inside], images[:, ~inside])
    assert (repaired[:, inside] != images[:, inside]).any((1, 2)).all()
    batch = unit(torch.from_numpy(images).permute(0, 3, 1, 2))
    marks = torch.from_numpy(inside)[None, None].float()
    alone = detector.inpaint(batch, marks, {**scoring, "iterations": 2})
    wanted = alone.mul(255).round().permute(0, 2, 3, 1)
    assert np.abs(repaired - wanted.numpy()).max() <= 1

    (tmp_path / "mask.png").write_bytes(png(np.dstack([mask * np.uint8(200)] * 3)))
    for form in (str(tmp_path / "mask.png"), Image.open(tmp_path / "mask.png"), mask * 1.0):
        assert np.array_equal(packaged.inpaint(images[0], form, iterations=2)[0], repaired[0])
    each = [mask if index == 33 else ~mask for index in range(34)]
    assert np.array_equal(packaged.inpaint(images, each, iterations=2)[33], repaired[33])
    blind = packaged.inpaint(images[:2], iterations=2)
    assert blind.shape == (2, 32, 32, 3) and (blind != images[:2]).any()

    for masks, said in (
        ([mask, mask], "there are 2 masks for 34 images; give one for each, or one"),
        (np.zeros((4, 4, 3)), r"mask 0 is \[4, 4, 3\], but must be \[H, W\]"),
        ("nowhere.png", "mask 0: .*No such file"),
        ([3], "mask 0: "),
    ):
        with pytest.raises(ValueError, match=said):
            packaged.inpaint(images, masks)
    with pytest.raises(ValueError, match="iteration"):
        packaged.inpaint(images[0], mask, iterations=0)


def test_a_model_that_repairs_nothing_says_so(toy):
    with pytest.raises(ValueError, match="registry_toy repairs no images; one of energy-proj"):
        load_package(toy[0]).inpaint(pictures(1))


def test_grey_images_of_any_shape(toy):
    packaged = load_package(toy[0])
    grey = pictures(5)[..., 0]
    expected = packaged.predict(np.repeat(grey[..., None], 3, axis=3))["score"]
    assert np.array_equal(packaged.predict(grey)["score"], expected)
    assert np.array_equal(packaged.predict(grey[..., None])["score"], expected)
    assert packaged.predict(grey[0])["score"] == expected[0]


def test_other_sizes_are_resized_as_for_training(toy):
    packaged = load_package(toy[0])
    large, tall = pictures(1, (97, 61))[0], pictures(1, (30, 22), seed=2)[0]
    found = packaged.predict([large, tall])
    height, width = SIZE
    for index, pixels in enumerate((large, tall)):
        resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        assert packaged.predict(np.asarray(resized))["score"] == found["score"][index]
    assert [amap.shape for amap in found["map"]] == [(97, 61), (30, 22)]
    small = packaged.predict([large, tall], maps="package")["map"]
    assert small.shape == (2, *SIZE) and "map" not in packaged.predict(large, maps="none")
    assert found["map"][0].mean() == pytest.approx(small[0].mean(), rel=0.05)


def test_twelve_bit_samples_have_the_full_scale_of_the_study(tmp_path):
    write_toy(tmp_path / "deep", ceiling=4095)
    write_toy(tmp_path / "plain")
    pixels = pictures(1)[0]
    deep = np.rint(pixels * (4095 / 255)).astype(np.uint16)
    expected = load_package(tmp_path / "plain").predict(pixels)["score"]
    assert load_package(tmp_path / "deep").predict(deep)["score"] == expected


def test_samples_that_do_not_begin_at_zero(tmp_path):
    write_toy(tmp_path / "deep", ceiling=52400, floor=51200)
    write_toy(tmp_path / "plain")
    pixels = pictures(1)[0]
    deep = np.rint(51200 + pixels * (1200 / 255)).astype(np.uint16)
    expected = load_package(tmp_path / "plain").predict(pixels)["score"]
    assert load_package(tmp_path / "deep").predict(deep)["score"] == expected
    assert json.loads((tmp_path / "deep" / PACKAGE_FILE).read_text())["format"] == 3


def test_packages_of_earlier_versions_judge_as_they_did(toy):
    folder, _ = toy
    content = json.loads((folder / PACKAGE_FILE).read_text())
    pixels = pictures(1)[0]
    clear = np.dstack([pixels, np.arange(40)[None].repeat(24, 0).astype(np.uint8)])
    new = load_package(folder).predict(png(clear))["score"]
    for added in ("floor", "recipe"):
        del content[added]
    (folder / PACKAGE_FILE).write_text(json.dumps(content))
    old = load_package(folder)
    assert old.predict(png(clear))["score"] == old.predict(pixels)["score"] != new


def test_transparent_parts_of_any_form_are_black(toy):
    pixels = pictures(1)[0]
    clear = np.dstack([pixels, np.tile(np.arange(40) > 20, (24, 1)).astype(np.uint8) * 255])
    packaged = load_package(toy[0])
    expected = packaged.predict(pixels * (clear[..., 3:] > 0))["score"]
    for form in (clear, png(clear), Image.fromarray(clear)):
        assert packaged.predict(form)["score"] == expected


def test_pillow_images_of_sixteen_bits(tmp_path):
    write_toy(tmp_path, ceiling=4095)
    deep = np.random.default_rng(0).integers(0, 4096, SIZE).astype(np.uint16)
    packaged = load_package(tmp_path)
    expected = packaged.predict(deep)["score"]
    assert packaged.predict(Image.fromarray(deep))["score"] == expected
    assert packaged.predict([Image.fromarray(deep.astype(np.int32))])["score"] == expected


def test_a_detector_without_maps(tmp_path):
    write_toy(tmp_path, method="registry_toy_scores", hyperparameters={}, scoring={})
    packaged = load_package(tmp_path)
    assert not packaged.localises
    assert set(packaged.predict(pictures(2))) == {
        "score",
        "verdict",
        "threshold",
        "false_positive_rate",
        "score_over_threshold",
        "image",
    }


def test_a_folder_and_a_pattern_stand_for_their_images(toy, tmp_path):
    images = pictures(3)
    for index, pixels in enumerate(images):
        (tmp_path / f"{index}.png").write_bytes(png(pixels))
    packaged = load_package(toy[0])
    expected = packaged.predict(images)
    assert expected["image"].tolist() == ["image 0", "image 1", "image 2"]
    for place in (tmp_path, str(tmp_path), str(tmp_path / "*.png"), [tmp_path / "0.png", tmp_path]):
        found = packaged.predict(place)
        assert np.array_equal(found["score"][-3:], expected["score"])
        assert found["image"].tolist()[-3:] == [str(tmp_path / f"{i}.png") for i in range(3)]
    assert packaged.predict(images[0])["score_over_threshold"] == expected["score"][0] / 1.2
    with pytest.raises(ValueError, match="no file, no folder, and no pattern"):
        packaged.predict(str(tmp_path / "*.bmp"))


def test_a_threshold_of_nothing_has_no_units(tmp_path):
    write_toy(tmp_path, threshold=0.0)
    assert np.isnan(load_package(tmp_path).predict(pictures(2))["score_over_threshold"]).all()


def test_what_a_package_says_of_itself(toy):
    package = read_package(toy[0])
    assert package.size == SIZE and package.threshold == 1.2
    assert package.held_out_scores == (0.5, 0.75) and package.scoring == {"pooling": "max"}
    names = sorted(path.name for path in toy[0].iterdir())
    assert names == [WEIGHTS_FILE, PACKAGE_FILE], "and no pickle"


def test_numbers_of_numpy_are_kept(tmp_path):
    write_toy(tmp_path, hyperparameters={"gain": np.float64(2.0)}, scoring={"pooling": "mean"})
    assert read_package(tmp_path).hyperparameters == {"gain": 2.0}


def test_weights_that_share_memory_or_have_gaps(tmp_path):
    wide = torch.rand(6, *SIZE)
    write_toy(tmp_path, weights={"mean": wide[::2], "again": wide[::2], "count": torch.tensor(3)})
    assert torch.equal(load_package(tmp_path).detector.mean, wide[::2])


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.full((4, 4, 3), 2.0), "floats must be from 0 to 1"),
        (np.full((4, 4, 3), np.nan), "floats must be from 0 to 1"),
        (np.zeros((4, 4, 3), np.int64), "is int64"),
        (np.zeros((2, 4, 4, 5), np.uint8), "must be"),
        (np.zeros((1, 2, 4, 4, 3), np.uint8), "must be"),
        (np.zeros((0, 4, 4, 3), np.uint8), "no image"),
        (b"not an image", "image 0"),
        ("/nowhere/a.png", "/nowhere/a.png"),
        ([np.zeros((4, 4, 3), np.uint8), 3], "image 1: is int"),
        ([], "no image"),
        (np.zeros((3, 48, 48), np.uint8), "channels first, or 3 grey images"),
        (np.zeros((2, 3, 48, 48), np.uint8), "channels come last"),
        (Image.new("F", (9, 9)), "Pillow's mode F"),
        (None, "images are NoneType, but must be"),
    ],
)
def test_what_is_no_image_is_refused_by_name(toy, image, reason):
    with pytest.raises(ValueError, match=reason):
        load_package(toy[0]).predict(image)


def test_damaged_packages_are_refused(toy, tmp_path):
    folder, _ = toy
    weights, text = (folder / WEIGHTS_FILE).read_bytes(), (folder / PACKAGE_FILE).read_text()

    def broken(content: dict | str | None = None, packed: bytes | None = weights) -> None:
        if isinstance(content, dict):
            content = json.dumps({**json.loads(text), **content})
        (folder / PACKAGE_FILE).write_text(text if content is None else content)
        (folder / WEIGHTS_FILE).unlink(missing_ok=True)
        if packed is not None:
            (folder / WEIGHTS_FILE).write_bytes(packed)

    for change, reason in (
        ((None, weights[:-8]), "damaged"),
        ((None, None), "has no detector.safetensors"),
        (({"format": 99},), "format 99"),
        (({"method": "gone"},), "cannot be restored"),
        (("{}",), "format None"),
        (("not json",), "no package"),
    ):
        broken(*change)
        with pytest.raises(PackageError, match=reason):
            load_package(folder)
    with pytest.raises(PackageError, match="holds no package"):
        load_package(tmp_path / "nothing")
    lacking = json.loads(text)
    del lacking["threshold"]
    broken(json.dumps(lacking))
    with pytest.raises(PackageError, match="lacks: threshold"):
        load_package(folder)


def test_a_threshold_must_be_finite(tmp_path):
    with pytest.raises(ValueError, match="threshold is nan"):
        write_toy(tmp_path, threshold=float("nan"))
