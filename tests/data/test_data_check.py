from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.data.conftest import pixels, save
from tuner.cli.data import app
from tuner.data import DataError, prepare
from tuner.data.checking import Asked, check
from tuner.data.tree import FolderTree


def test_a_report_of_sound_data(mvtec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = FolderTree.read

    def watched(tree: FolderTree, path: str) -> bytes:
        read.append(path)
        return original(tree, path)

    monkeypatch.setattr(FolderTree, "read", watched)
    report = check(str(mvtec))
    assert report.ok and report.layout == "mvtec" and not report.demo
    (nut,) = report.categories
    assert (nut.train, nut.test, nut.masks, nut.sizes) == (6, 7, 3, {"20x24": 13})
    assert len(read) == 13 and not any("ground_truth" in path for path in read)


def test_a_report_of_what_is_wrong(mvtec: Path, visa: Path) -> None:
    save(mvtec / "nut/train/good/000.png", pixels(0, 30, 30))
    (mvtec / "nut/test/scratch/000.png").unlink()
    for index in (2, 3, 4):
        (mvtec / f"nut/train/good/00{index}.png").write_bytes(b"x")
    for path in (visa / "pcb1/Data/Images/Normal").iterdir():
        path.unlink()
    (nut,) = check(str(mvtec)).categories
    assert any(problem.startswith("3 of 6 training images") for problem in nut.problems)
    assert any("2 sizes" in warning for warning in nut.warnings)
    assert any("1 of 3 masks have no image" in warning for warning in nut.warnings)
    assert not any("scratch" in said for said in (*nut.problems, *nut.warnings))
    report = check(str(visa))
    assert not report.ok
    assert [bool(category.problems) for category in report.categories] == [False, True]
    assert check(str(visa), "candle").ok
    with pytest.raises(DataError, match="there are: candle, pcb1"):
        check(str(visa), "tile")


def test_too_few_normals_are_a_problem(plain: Path) -> None:
    for index in (0, 1):
        (plain / f"normal/n{index}.png").unlink()
    assert "3 normal images, but at least 4" in check(str(plain)).categories[0].problems[0]


def test_the_demo_says_that_it_is_one() -> None:
    report = check("demo")
    assert report.ok and report.demo and "not MVTec AD" in report.warnings[0]
    assert {category.category for category in report.categories} >= {"tile", "carpet", "grid"}


def test_the_command_in_words(mvtec: Path) -> None:
    found = CliRunner().invoke(app, ["check", str(mvtec)])
    assert found.exit_code == 0
    assert "layout MVTec AD, 1 category" in found.stdout
    assert "nut: 6 normal, 7 unlabelled, 3 masks (not opened); 13 of 20x24" in found.stdout
    assert found.stdout.rstrip().endswith("a study can start")
    assert "demo data" in CliRunner().invoke(app, ["check", "demo"]).stdout


def test_the_command_in_json(mvtec: Path, tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["check", str(mvtec), "--category", "nut", "--json"])
    assert json.loads(found.stdout)["categories"][0]["train"] == 6
    missing = CliRunner().invoke(app, ["check", str(tmp_path / "nowhere"), "--json"])
    assert missing.exit_code == 1
    assert json.loads(missing.stdout)["ok"] is False and "does not exist" in missing.stderr


def test_the_command_fails_where_a_study_could_not_start(plain: Path) -> None:
    for path in (plain / "unlabelled").iterdir():
        path.unlink()
    found = CliRunner().invoke(app, ["check", str(plain)])
    assert found.exit_code == 1
    assert "error: category bolts" in found.stdout and "cannot start" in found.stdout
    assert "bolts: 5 normal, no unlabelled images yet" in found.stdout
    (plain / "unlabelled").rmdir()
    (problem,) = check(str(plain)).categories[0].problems
    assert "unlabelled is missing; put the unlabelled images" in problem


def test_what_is_lost_of_large_images_is_told(plain: Path) -> None:
    (found,) = check(str(plain), asked=Asked((16, 16))).categories
    assert not any("fades" in said for said in found.warnings)
    for path in plain.glob("*/*.png"):
        save(path, pixels(7, 64, 64))
    (found,) = check(str(plain), asked=Asked((16, 16))).categories
    (said,) = [said for said in found.warnings if "fades" in said]
    assert "images of 64 x 64 become 16 x 16: a pixel then stands for 4 a side" in said
    assert "--size 32x32 takes about four times" in said


def test_images_unlike_the_rest_are_counted_and_named_where_they_are_normal(plain: Path) -> None:
    for index in range(10, 20):
        save(plain / f"normal/n{index}.png", pixels(index))
    assert not any("unlike" in said for said in check(str(plain)).categories[0].warnings)
    save(plain / "normal/dark.png", pixels(30) // 4)
    save(plain / "unlabelled/darker.png", pixels(31) // 4)
    said = [text for text in check(str(plain)).categories[0].warnings if "unlike" in text]
    assert said[0].startswith("1 of 16 normal images look unlike the rest (normal/dark.png)")
    assert said[1].startswith("1 of 5 unlabelled images (20%) look unlike the normal ones")
    assert "darker" not in said[1]


@pytest.mark.heavy
def test_importing_costs_nothing() -> None:
    code = (
        "import sys, tuner.data, tuner.cli.data; "
        "heavy = {'numpy', 'PIL', 'boto3', 'skimage', 'scipy', 'torch', 'ray', 'mlflow'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    preparing = (
        "import sys, tuner.data; tuner.data.prepare; tuner.data.check; "
        "print(sorted({'torch', 'ray', 'mlflow', 'boto3'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", preparing], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_check_says_what_a_launch_would_warn_of_and_more(plain: Path, tmp_path: Path) -> None:
    for index in range(3):
        save(plain / f"normal/grey{index}.png", pixels(900 + index)[..., 0])
    shutil.copy(plain / "normal/n0.png", plain / "unlabelled/copy.png")
    shutil.copy(plain / "normal/n1.png", plain / "normal/again.png")
    launched = prepare(str(plain), "bolts", (16, 64), tmp_path / "c").warnings
    (found,) = check(str(plain), asked=Asked((16, 64))).categories
    assert set(launched) < set(found.warnings) and len(launched) == 4
    batch, few = sorted(set(found.warnings) - set(launched))
    assert batch.startswith("5 unlabelled images are few")
    assert "the 2 of them that are kept from training support a false-positive rate of 0.33" in few
    assert few.endswith("not 0.05; 93 normal images would; --false-positive-rate 0.334 is possible")
    assert found.depth.startswith("14 of 8 bit (samples 0 to 255)") or "14 of 8 bit" in found.depth
    other = check(str(plain), asked=Asked(held_out=0.5, false_positive_rate=0.2)).categories[0]
    assert not any("false-positive" in said for said in other.warnings)


def test_a_batch_without_good_images_is_told_by_the_check_alone(
    mvtec: Path, tmp_path: Path
) -> None:
    (mvtec / "nut/test/good").rename(mvtec / "nut/test/ok")
    (found,) = check(str(mvtec)).categories
    assert any("did you mean good by ok? Rename it" in said for said in found.warnings)
    assert prepare(str(mvtec), "nut", (16, 16), tmp_path / "c").warnings == ()
    found_by_command = CliRunner().invoke(app, ["check", str(mvtec), "--size", "16x32"])
    assert found_by_command.exit_code == 0 and "13 of 8 bit" in found_by_command.stdout
