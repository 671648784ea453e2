from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import tuner.data.tree
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


@pytest.mark.parametrize(
    "name", ["unlabelled/u0_GT.png", "unlabelled/Label/u0_label.PNG", "normal/n1.bmp",
             "unlabelled/rgb/gt/u9.png"]
)  # fmt: skip
def test_masks_among_the_images_are_told(plain: Path, name: str) -> None:
    save(plain / "unlabelled/deeper/u0.png", pixels(10))
    save(plain / "unlabelled/u0_label_2.png", pixels(11))
    assert open_source(str(plain)).listing("bolts").warnings == ()
    save(plain / name, pixels(12))
    (said,) = open_source(str(plain)).listing("bolts").warnings
    assert said.startswith("1 of ") and "seem to be masks of others" in said and "u0" not in said


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
    assert "empty test batch: nut/test is missing; put the unlabelled" in refused(mvtec)
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


def test_two_links_to_one_folder_are_two_folders(plain: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"cats/{name}/train").mkdir(parents=True)
        (tmp_path / f"cats/{name}/train/good").symlink_to(plain / "normal")
        (tmp_path / f"cats/{name}/test").symlink_to(plain)
    assert [counts(tmp_path / "cats", name) for name in ("a", "b")] == [(5, 9), (5, 9)]


def test_folders_of_any_depth_count_and_loops_end(plain: Path) -> None:
    deep = plain / "normal/2024/05/17/line3/shift2/cam1/lot9/tray"
    save(deep / "far.png", pixels(70))
    (deep / "up").symlink_to(plain)
    (deep / "out").symlink_to(plain.parent)
    (deep / "here").symlink_to(deep)
    assert counts(plain, "bolts") == (6, 4)


def test_links_between_many_folders_are_refused(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner.data.tree, "_MOST_LINKED", 50)
    farm = plain / "normal/farm"
    for index in range(6):
        (farm / str(index)).mkdir(parents=True)
    for index in range(6):
        for other in range(6):
            (farm / f"{index}/to{other}").symlink_to(farm / str(other))
    assert "lead to the same folders more than 50 times" in refused(plain, "bolts")


@pytest.mark.parametrize(
    "name", ["@eaDir", ".Trash", "__MACOSX", "lost+found", "#recycle", "$RECYCLE.BIN", "@Recycle"]
)
def test_what_systems_leave_among_images_is_no_image(plain: Path, name: str) -> None:
    save(plain / f"normal/{name}/n0.png/SYNOPHOTO_THUMB_XL.png", pixels(80))
    save(plain / f"{name}/normal/n0.png", pixels(81))
    (plain / "normal/Thumbs.db").write_bytes(b"x")
    listing = open_source(str(plain)).listing("bolts")
    assert (len(listing.train), listing.warnings) == (5, ())


def test_a_folder_that_may_not_be_looked_into_is_told(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(plain / "normal/shut/n9.png", pixels(90))
    scan = os.scandir

    def guarded(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    (said,) = open_source(str(plain)).listing("bolts").warnings
    assert said.startswith("1 folders may not be looked into") and "normal/shut" in said


def test_names_of_folders_may_have_any_case(plain: Path, mvtec: Path) -> None:
    (plain / "normal").rename(plain / "Normal")
    (plain / "unlabelled").rename(plain / "UNLABELED")
    assert counts(plain, "bolts") == (5, 4)
    nut = mvtec / "nut"
    (nut / "train/good").rename(nut / "train/Good")
    (nut / "train").rename(nut / "Train")
    (nut / "test").rename(nut / "Test")
    assert counts(mvtec, "nut") == (6, 7)
    assert open_source(str(mvtec)).listing("nut").warnings == ()


def test_folders_of_a_data_set_with_a_split_file_may_have_any_case(visa: Path) -> None:
    (visa / "candle/Data/Masks").rename(visa / "candle/Data/masks")
    (visa / "candle/Data/Images").rename(visa / "candle/Data/IMAGES")
    (visa / "candle/Data").rename(visa / "candle/data")
    (visa / "split_csv/1cls.csv").rename(visa / "split_csv/1CLS.csv")
    (visa / "split_csv").rename(visa / "Split_CSV")
    source = open_source(str(visa))
    assert (source.layout, source.categories()) == ("visa", ["candle", "pcb1"])
    assert counts(visa, "candle") == (5, 4) and source.listing("candle").warnings == ()


def test_a_name_that_differs_by_its_case_alone_is_told(plain: Path) -> None:
    save(plain / "Normal/n0.png", pixels(60))
    listing = open_source(str(plain)).listing("bolts")
    assert len(listing.train) == 5 and "Normal lies beside normal" in listing.warnings[0]


def test_both_spellings_of_unlabelled_are_told(plain: Path) -> None:
    save(plain / "unlabeled/a.png", pixels(60))
    (said,) = open_source(str(plain)).listing("bolts").warnings
    assert said == "unlabeled lies beside unlabelled and was left out"


def test_a_file_url_is_a_folder_and_a_pipe_is_no_image(plain: Path, tmp_path: Path) -> None:
    other = tmp_path / "line #3 50%41?ü"
    plain.rename(other)
    (other / "normal/n0.png").unlink()
    os.mkfifo(other / "normal/n0.png")
    listing = open_source(other.as_uri()).listing(other.name)
    assert (len(listing.train), len(listing.test)) == (5, 4)
    with pytest.raises(OSError, match="not a regular file"):
        listing.train[0].read()


def test_other_names_are_suggested(plain: Path, mvtec: Path) -> None:
    (plain / "normal").rename(plain / "OK")
    (plain / "unlabelled").rename(plain / "NG")
    said = refused(plain, "bolts")
    assert "Did you mean normal by OK?" in said and "those of NG among them" in said
    (plain / "OK").rename(plain / "Normals")
    assert "Did you mean normal by Normals?" in refused(plain, "bolts")
    (mvtec / "nut/train/good").rename(mvtec / "nut/train/ok")
    assert "did you mean good by ok?" in refused(mvtec)


def test_paths_in_a_table_may_be_written_for_another_system(visa: Path) -> None:
    lines = (visa / "split_csv/1cls.csv").read_text().splitlines()
    head, rows = lines[0], [line.split(",") for line in lines[1:]]
    for row in rows:
        row[1] = row[1].upper()
        row[3] = ".\\" + row[3].replace("/", "\\").replace(".png", ".PNG")
    write_csv(visa / "split_csv/1cls.csv", [head.split(","), *rows])
    assert counts(visa, "candle") == (5, 4)
    write_csv(visa / "split_csv/1cls.csv", [head.split(","), ["candle", "train", "", "x/y.png"]])
    said = refused(visa, "candle")
    assert "none of the 1 that split_csv/1cls.csv names is there (the first is x/y.png)" in said


def test_names_that_are_not_utf8(plain: Path) -> None:
    folder = os.fsencode(plain)
    os.rename(folder + b"/unlabelled/u0.png", folder + b"/unlabelled/Pr\xfcf.png")
    os.rename(folder + b"/normal/n0.png", folder + b"/normal/n\xfc.png")
    listing = open_source(str(plain)).listing("bolts")
    assert len(listing.test) == 4 and [len(item.read()) > 0 for item in listing.test] == [True] * 4
    assert listing.train[-1].name == "normal/n\\udcfc.png"
    os.rename(folder, folder + b"\xfc")
    assert "has bytes that are not UTF-8; rename it" in refused(os.fsdecode(folder + b"\xfc"))
