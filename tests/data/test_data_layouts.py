from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.data.conftest import pixels, save, write_csv
from tuner.data import DataError, open_source


def counts(location: Path, category: str) -> tuple[int, int]:
    listing = open_source(str(location)).listing(category)
    return len(listing.train), len(listing.test)


def test_mvtec_is_recognised(mvtec: Path) -> None:
    source = open_source(str(mvtec))
    assert (source.layout, source.demo, source.categories()) == ("mvtec", False, ["nut"])
    assert counts(mvtec, "nut") == (6, 7)


def test_a_single_mvtec_category_is_recognised(mvtec: Path) -> None:
    source = open_source(str(mvtec / "nut"))
    assert (source.layout, source.categories()) == ("mvtec", ["nut"])
    assert counts(mvtec / "nut", "nut") == (6, 7)


def test_a_location_means_the_same_from_anywhere(
    mvtec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mvtec)
    assert open_source("nut").location == str(mvtec / "nut")
    assert open_source(".").categories() == ["nut"]


def test_visa_is_recognised_by_its_split_file(visa: Path) -> None:
    source = open_source(str(visa))
    assert (source.layout, source.categories()) == ("visa", ["candle", "pcb1"])
    assert counts(visa, "candle") == (5, 4)


def test_plain_is_recognised_and_named_after_its_folder(plain: Path) -> None:
    source = open_source(str(plain))
    assert (source.layout, source.categories()) == ("plain", ["bolts"])
    assert counts(plain, "bolts") == (5, 4)


@pytest.mark.parametrize("name", ["unlabelled", "unlabeled"])
def test_plain_folders_may_lie_in_categories(plain: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(plain / "normal", tmp_path / "all/bolts/normal")
    shutil.copytree(plain / "unlabelled", tmp_path / "all/bolts" / name)
    assert counts(tmp_path / "all", "bolts") == (5, 4)


def test_endings_of_any_case_and_linked_folders_count(plain: Path, tmp_path: Path) -> None:
    (plain / "normal/n0.png").rename(plain / "normal/n0.PNG")
    save(plain / "unlabelled/deep/er.JPG", pixels(9))
    (tmp_path / "linked").symlink_to(plain)
    (plain / "normal/loop").symlink_to(plain)
    assert counts(tmp_path / "linked", "linked") == (5, 5)


def test_hidden_files_are_ignored_and_others_are_counted(plain: Path) -> None:
    (plain / "normal/._n0.png").write_bytes(b"junk")
    (plain / "unlabelled/a.webp").write_bytes(b"junk")
    listing = open_source(str(plain)).listing("bolts")
    assert len(listing.train) == 5
    assert any("1 files were left out (.webp)" in warning for warning in listing.warnings)


def test_test_images_have_no_name_and_no_telling_order(mvtec: Path) -> None:
    listing = open_source(str(mvtec)).listing("nut")
    assert all(item.name == "" for item in listing.test)
    assert "scratch" not in repr(listing) and "bent" not in repr(listing)
    assert listing.train[0].name == "nut/train/good/000.png"


def test_loose_test_images_and_other_training_folders_are_left_out(mvtec: Path) -> None:
    save(mvtec / "nut/test/loose.png", pixels(77))
    save(mvtec / "nut/train/odd/0.png", pixels(78))
    listing = open_source(str(mvtec)).listing("nut")
    assert (len(listing.train), len(listing.test)) == (6, 7)
    assert any("directly in nut/test" in warning for warning in listing.warnings)
    assert any("outside nut/train/good" in warning for warning in listing.warnings)


def test_masks_without_images_are_counted(mvtec: Path, visa: Path) -> None:
    (mvtec / "nut/test/scratch/000.png").unlink()
    warnings = open_source(str(mvtec)).listing("nut").warnings
    assert any(warning.startswith("1 of 3 masks have no image") for warning in warnings)
    (visa / "candle/Data/Images/Anomaly/000.png").unlink()
    warnings = open_source(str(visa)).listing("candle").warnings
    assert any(warning.startswith("1 of 2 masks have no image") for warning in warnings)
    assert any(warning.startswith("1 of 4 test images that split_csv") for warning in warnings)


def refused(location: object, category: str = "nut") -> str:
    with pytest.raises(DataError) as error:
        open_source(str(location)).listing(category)
    return str(error.value)


def test_an_unknown_category_lists_those_that_exist(mvtec: Path, visa: Path) -> None:
    assert "there are: nut; did you mean nut?" in refused(mvtec, "nuts")
    assert "there are: candle, pcb1" in refused(visa, "tile")
    assert "there are: brick, carpet" in refused("demo", "nut")


def test_missing_and_odd_locations(tmp_path: Path) -> None:
    assert "does not exist; check the spelling" in refused(tmp_path / "nowhere")
    assert "is a file" in refused(save(tmp_path / "a.png", pixels(0)))
    (tmp_path / "empty").mkdir()
    assert "is empty; expected is" in refused(tmp_path / "empty")
    assert "gs:// are not known" in refused("gs://bucket/x")
    assert "location is empty" in refused("")


def test_an_unknown_layout_says_what_was_found_and_what_is_expected(tmp_path: Path) -> None:
    save(tmp_path / "set/pictures/a.png", pixels(0))
    said = refused(tmp_path / "set")
    assert "1 images in 1 folders: pictures" in said and "normal/ and unlabelled/" in said


def test_a_folder_too_high_points_below(mvtec: Path) -> None:
    assert f"try {mvtec.parent}/mvtec" in refused(mvtec.parent)


def test_no_normal_images(mvtec: Path, plain: Path) -> None:
    for path in (mvtec / "nut/train/good").iterdir():
        path.unlink()
    assert "no normal images: nut/train/good holds no" in refused(mvtec)
    shutil.rmtree(plain / "normal")
    assert "no normal images: normal holds no" in refused(plain, "bolts")


def test_an_empty_test_batch(mvtec: Path, plain: Path, visa: Path) -> None:
    shutil.rmtree(mvtec / "nut/test")
    assert "empty test batch: nut/test holds no" in refused(mvtec)
    shutil.rmtree(plain / "unlabelled")
    os.mkdir(plain / "unlabelled")
    assert "empty test batch: unlabelled holds no" in refused(plain, "bolts")
    write_csv(
        visa / "split_csv/1cls.csv",
        [["object", "split", "image"], ["candle", "train", "candle/Data/Images/Normal/0000.png"]],
    )
    assert "empty test batch: split test of split_csv/1cls.csv" in refused(visa, "candle")


def test_visa_without_a_sound_split_file(visa: Path) -> None:
    write_csv(visa / "split_csv/1cls.csv", [["object", "image"]])
    assert "has no column split" in refused(visa, "candle")
    (visa / "split_csv/1cls.csv").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as UTF-8" in refused(visa, "candle")
    (visa / "split_csv/1cls.csv").rename(visa / "split_csv/2cls_fewshot.csv")
    assert "put that file of the data set back" in refused(visa, "candle")
