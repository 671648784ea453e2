from __future__ import annotations

import ast
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tuner.data
from tests.data.conftest import box_mask, pixels, save
from tuner.data import DataError, prepare
from tuner.data.images import content_hash, open_picture
from tuner.data.labels import Labels, load_labels, mask_of, resize_mask
from tuner.data.originals import originals


def labels_of(location: Path, category: str, size: tuple[int, int] | None) -> Labels:
    prepared = prepare(str(location), category, size, location.parent / "cache")
    found = load_labels(str(location), category, prepared.size, prepared.test_hashes)
    assert found is not None
    assert len(found.defects) == len(prepared.test) == len(found.anomalous)
    return found


def place(location: Path, category: str, path: Path) -> int:
    prepared = prepare(str(location), category, (16, 16), location.parent / "cache")
    return prepared.test_hashes.index(content_hash(path.read_bytes()))


def test_mvtec_labels_follow_the_prepared_order(mvtec: Path) -> None:
    found = labels_of(mvtec, "nut", None)
    for path in (mvtec / "nut/test").rglob("*.png"):
        at = place(mvtec, "nut", path)
        defect = "" if path.parent.name == "good" else path.parent.name
        assert found.defects[at] == defect
        assert found.anomalous[at] == bool(defect)
    at = place(mvtec, "nut", mvtec / "nut/test/scratch/001.png")
    assert found.masks is not None
    assert np.array_equal(found.masks[at], box_mask(3) > 0)


def test_a_defect_without_a_mask_is_counted_and_not_taken_for_an_empty_one(mvtec: Path) -> None:
    found = labels_of(mvtec, "nut", None)
    at = place(mvtec, "nut", mvtec / "nut/test/bent/001.png")
    assert found.missing_masks == 1
    assert not found.mask_known[at] and found.mask_known.sum() == 6
    save(mvtec / "nut/ground_truth/bent/001_mask.png", np.zeros((20, 24), np.uint8))
    (mvtec / "nut/ground_truth/bent/000_mask.png").write_bytes(b"garbled")
    assert labels_of(mvtec, "nut", None).missing_masks == 2


def test_without_any_mask_there_are_still_labels(mvtec: Path) -> None:
    shutil.rmtree(mvtec / "nut/ground_truth")
    found = labels_of(mvtec, "nut", None)
    assert found.masks is None and found.missing_masks == 4 and found.anomalous.sum() == 4


def test_visa_labels_come_from_the_split_file(visa: Path) -> None:
    found = labels_of(visa, "candle", None)
    assert sorted(found.defects) == ["", "", "anomaly", "anomaly"]
    at = place(visa, "candle", visa / "candle/Data/Images/Anomaly/001.png")
    assert found.masks is not None and found.missing_masks == 0
    assert np.array_equal(found.masks[at], box_mask(3) > 0)


def test_plain_data_hold_no_labels(plain: Path, tmp_path: Path) -> None:
    prepared = prepare(str(plain), "bolts", None, tmp_path / "c")
    assert load_labels(str(plain), "bolts", prepared.size, prepared.test_hashes) is None


def test_masks_take_the_size_height_by_width(mvtec: Path) -> None:
    found = labels_of(mvtec, "nut", (40, 96))
    at = place(mvtec, "nut", mvtec / "nut/test/scratch/000.png")
    assert found.masks is not None and found.masks.shape == (7, 40, 96)
    wanted = np.repeat(np.repeat(box_mask(2) > 0, 2, axis=0), 4, axis=1)
    assert np.array_equal(found.masks[at], wanted)


def test_a_defect_smaller_than_a_sample_does_not_vanish() -> None:
    mask = np.zeros((256, 256), bool)
    mask[101, 7] = True
    small = resize_mask(mask, (16, 16))
    assert small.sum() == 1 and small[6, 0]


def test_copies_with_contradictory_labels_do_not_crash(mvtec: Path) -> None:
    shutil.copy(mvtec / "nut/test/scratch/000.png", mvtec / "nut/test/good/copy.png")
    prepared = prepare(str(mvtec), "nut", None, mvtec.parent / "c")
    found = load_labels(str(mvtec), "nut", prepared.size, prepared.test_hashes)
    assert found is not None
    twice = [h for h in prepared.test_hashes if prepared.test_hashes.count(h) == 2]
    both = {found.defects[at] for at, h in enumerate(prepared.test_hashes) if h in twice}
    assert both == {"", "scratch"}


def test_images_left_out_of_the_study_are_left_out_of_the_labels(mvtec: Path) -> None:
    prepared = prepare(str(mvtec), "nut", None, mvtec.parent / "c")
    found = load_labels(str(mvtec), "nut", prepared.size, prepared.test_hashes[:3])
    assert found is not None and len(found.anomalous) == 3


def test_data_that_changed_since_the_study_are_told(mvtec: Path) -> None:
    prepared = prepare(str(mvtec), "nut", None, mvtec.parent / "c")
    save(mvtec / "nut/test/good/000.png", pixels(5555))
    with pytest.raises(DataError, match=r"1 of the 7 test images .* no longer in .* restore"):
        load_labels(str(mvtec), "nut", prepared.size, prepared.test_hashes)


TRUTH = np.hypot(*(np.mgrid[:64, :64] - np.array([[[30]], [[36]]]))) < 12
WHITE = np.full((64, 64), 255, np.uint8)


def picture(mask: np.ndarray, mode: str | None = None) -> Image.Image:
    image = Image.fromarray(mask)
    return image if mode is None else image.convert(mode)


def palette(mask: np.ndarray, *colours: int) -> Image.Image:
    image = Image.fromarray(mask.astype(np.uint8))
    image.putpalette(list(colours))
    return image


def soft() -> Image.Image:
    """An edge over several levels, the middle one on the edge of the truth."""
    distance = np.hypot(*(np.mgrid[:64, :64] - np.array([[[30]], [[36]]])))
    return picture(np.clip(127.5 + 80 * (12 - distance), 0, 255).astype(np.uint8))


GREY = picture(TRUTH * WHITE)
HALVES = np.arange(64)[:, None] < 30
FORMS = {
    "levels-0-1": ("PNG", picture(TRUTH.astype(np.uint8))),
    "one-bit": ("PNG", picture(TRUTH * WHITE, "1")),
    "sixteen-bit": ("PNG", picture((TRUTH * 65535).astype(np.uint16))),
    "floats": ("TIFF", picture(TRUTH.astype(np.float32))),
    "bmp": ("BMP", GREY),
    "jpeg": ("JPEG", GREY),
    "soft-edges": ("PNG", soft()),
    "blue": ("PNG", picture(np.dstack([WHITE * 0, WHITE * 0, TRUTH * WHITE]))),
    "opaque": ("PNG", picture(np.dstack([TRUTH * WHITE] * 3 + [WHITE]))),
    "in-alpha": ("PNG", picture(np.dstack([WHITE] * 3 + [TRUTH * WHITE]))),
    "in-alpha-of-grey": ("PNG", Image.merge("LA", [picture(WHITE), GREY])),
    "red-on-nothing": ("PNG", picture(np.dstack([WHITE, *[WHITE * 0] * 2, TRUTH * WHITE]))),
    "palette-white-first": ("PNG", palette(~TRUTH, 255, 255, 255, 0, 0, 0)),
    "palette-coloured": ("PNG", palette(TRUTH, 0, 0, 0, 128, 0, 0)),
    "palette-by-number": ("PNG", palette(TRUTH, 9, 8, 7, 200, 0, 0)),
    "numbers": ("PNG", picture((TRUTH * (1 + HALVES)).astype(np.uint8))),
    "high-numbers": ("PNG", picture((TRUTH * np.where(HALVES, 40, 255)).astype(np.uint8))),
    "above-zero": ("PNG", picture((TRUTH + 1).astype(np.uint8))),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_mask_says_the_same_in_any_form(form: str, tmp_path: Path) -> None:
    kind, image = FORMS[form]
    image.save(tmp_path / "mask", kind)
    with open_picture((tmp_path / "mask").read_bytes()) as opened:
        found = mask_of(opened)
    # A block of eight pixels of a JPEG may ring at the edge.
    assert (found != TRUTH).sum() <= (4 if kind == "JPEG" else 0)


def test_masks_that_look_inverted_are_told(mvtec: Path) -> None:
    assert labels_of(mvtec, "nut", None).warnings == ()
    save(mvtec / "nut/ground_truth/bent/000_mask.png", 255 - box_mask(10))
    (said,) = labels_of(mvtec, "nut", None).warnings
    assert said.startswith("1 of 3 masks cover more than half") and "inverted" in said


def test_masks_are_found_by_the_names_that_data_sets_give_them(mvtec: Path) -> None:
    truth = mvtec / "nut/ground_truth"
    # MVTec LOCO AD has one mask a part, in a folder named after the image.
    (truth / "scratch/000_mask.png").unlink()
    save(truth / "scratch/000/000.png", np.minimum(box_mask(2), 236))
    save(truth / "scratch/000/001.png", np.minimum(box_mask(12), 251))
    (truth / "scratch/001_mask.png").rename(truth / "scratch/001_GT.png")
    (truth / "bent/000_mask.png").unlink()
    save(truth / "bent/000.bmp", box_mask(10))
    save(truth / "bent/001_label.png", box_mask(11))
    found = labels_of(mvtec, "nut", None)
    assert found.missing_masks == 0 and found.masks is not None
    for name, mask in {
        "scratch/000": box_mask(2) | box_mask(12),
        "scratch/001": box_mask(3),
        "bent/000": box_mask(10),
        "bent/001": box_mask(11),
    }.items():
        at = place(mvtec, "nut", mvtec / f"nut/test/{name}.png")
        assert np.array_equal(found.masks[at], mask > 0)
    save(truth / "scratch/000/001.png", box_mask(2, 40, 48))
    assert labels_of(mvtec, "nut", None).missing_masks == 1


def test_names_in_another_case_and_a_batch_without_good_images(mvtec: Path) -> None:
    nut = mvtec / "nut"
    (nut / "test/good").rename(nut / "test/Good")
    (nut / "ground_truth").rename(nut / "Ground_Truth")
    (nut / "test").rename(nut / "Test")
    found = labels_of(mvtec, "nut", None)
    assert (found.anomalous.sum(), found.missing_masks, found.warnings) == (4, 1, ())
    (nut / "Test/Good").rename(nut / "Test/ok")
    found = labels_of(mvtec, "nut", None)
    assert found.anomalous.all()
    (said,) = found.warnings
    assert "counts every image of it as defective (bent, ok, scratch)" in said
    assert "did you mean good by ok?" in said


def test_only_the_label_module_reaches_for_truth() -> None:
    """Nothing else of this folder imports labels, or the demo's truth, or VisA's label column."""
    root = Path(next(iter(tuner.data.__path__)))
    for path in root.rglob("*.py"):
        if path.name in ("labels.py", "truth.py"):
            continue
        tree = ast.parse(path.read_text())
        imported = {
            f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not {name for name in imported if "labels" in name or "truth" in name}, path
        constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert not constants & {"label", "mask"}, path


def test_files_of_a_batch_are_found_by_content_and_copies_take_turns(mvtec: Path) -> None:
    prepared = prepare(str(mvtec), "nut", (16, 16), mvtec.parent / "cache")
    found = originals(str(mvtec), "nut", [*prepared.test_hashes, "unknown"])
    assert found[-1] is None
    there = [each for each in found if each is not None]
    test = mvtec / "nut" / "test"
    names = sorted(str(path.relative_to(test)) for path in test.rglob("*.png"))
    assert sorted(each.path for each in there) == names
    for each, digest in zip(there, prepared.test_hashes, strict=True):
        assert content_hash(each.read()) == digest and each.path.endswith(each.name)
        assert "/" not in each.name
    twice = originals(str(mvtec), "nut", [prepared.test_hashes[0]] * 2)
    assert twice[0] == twice[1]
