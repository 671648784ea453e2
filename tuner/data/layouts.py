"""Which folder layout a tree has, and which of its files are training and test images.

Pure functions of the paths in a tree (and, for VisA, of its split file). What a defect folder is
called is used to find files and goes no further.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from tuner.data import visa
from tuner.data.errors import DataError
from tuner.data.tree import ENDINGS, Tree, images_below, is_image, others_below

Layout = Literal["demo", "mvtec", "visa", "plain"]

UNLABELLED = ("unlabelled", "unlabeled")
EXPECTED = (
    "expected is MVTec AD's layout (CATEGORY/train/good and CATEGORY/test/NAME), VisA's "
    "(split_csv/1cls.csv), or two folders normal/ and unlabelled/"
)


@dataclass(frozen=True)
class Parts:
    """Paths of one category, and what is odd about them in words."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recognised:
    """The layout of a tree and its categories, each with the folder it lies in ("" is the root)."""

    layout: Layout
    folders: dict[str, str]


def recognise(tree: Tree) -> Recognised:
    """Look at a tree. Raises DataError where nothing known is found."""
    if visa.split_file(tree) is not None:
        return Recognised("visa", {name: name for name in visa.categories(tree)})
    if any(folder.split("/")[0] == "split_csv" for folder in tree.folders):
        raise DataError(
            f"{tree.location} has VisA's folder split_csv, but not {visa.SPLIT_FILE} in it; put "
            "that file of the data set back (its two-class splits train on defects)"
        )
    at_root = _layout_of(tree, "")
    if at_root is not None:
        return Recognised(at_root, {tree.name: ""})
    found = {folder: _layout_of(tree, folder) for folder in _top(tree)}
    for layout in ("mvtec", "plain"):
        folders = {name: name for name, its in found.items() if its == layout}
        if folders:
            return Recognised(layout, folders)
    raise DataError(_unknown(tree))


def parts(tree: Tree, layout: Layout, category: str, folder: str) -> Parts:
    """Training and test images. Raises DataError where there are none of either."""
    if layout == "visa":
        return _visa(tree, category)
    base = f"{folder}/" if folder else ""
    if layout == "plain":
        normal = f"{base}normal"
        batch = next((f"{base}{n}" for n in UNLABELLED if f"{base}{n}" in tree.folders), "")
        batch = batch or f"{base}{UNLABELLED[0]}"
        train, test = images_below(tree.files, normal), images_below(tree.files, batch)
        odd = _left_out(tree, (normal, batch))
    else:
        normal, batch = f"{base}train/good", f"{base}test"
        train = images_below(tree.files, normal)
        below = images_below(tree.files, batch)
        test = [path for path in below if "/" in path.removeprefix(f"{batch}/")]
        odd = _left_out(tree, (normal, batch))
        if len(below) > len(test):
            odd += (
                f"{len(below) - len(test)} images lie directly in {batch} and were left out; put "
                "them into a folder below it, or use the layout normal/ and unlabelled/",
            )
        elsewhere = images_below(tree.files, f"{base}train")
        if len(elsewhere) > len(train):
            odd += (
                f"{len(elsewhere) - len(train)} images in {base}train lie outside {normal} and "
                "were left out",
            )
    _demand(tree, category, (normal, train), (batch, test))
    return Parts(tuple(train), tuple(test), (*odd, *orphans(tree, layout, category, folder)))


def masks(tree: Tree, layout: Layout, category: str, folder: str) -> dict[str, str | None]:
    """Every ground-truth file by path, with the image it belongs to (None: there is none).

    Only names are compared; no ground-truth file is opened.
    """
    if layout == "visa":
        truth, images = f"{category}/Data/Masks", f"{category}/Data/Images"
    elif layout == "mvtec":
        base = f"{folder}/" if folder else ""
        truth, images = f"{base}ground_truth", f"{base}test"
    else:
        return {}
    by_stem = {str(PurePosixPath(path).with_suffix("")): path for path in tree.files}
    return {
        path: by_stem.get(f"{images}/{_stem(path.removeprefix(f'{truth}/'))}")
        for path in images_below(tree.files, truth)
    }


def orphans(tree: Tree, layout: Layout, category: str, folder: str) -> tuple[str, ...]:
    """A warning where ground-truth files have no image."""
    found = masks(tree, layout, category, folder)
    lost = sum(image is None for image in found.values())
    if not lost:
        return ()
    return (f"{lost} of {len(found)} masks have no image of their name; they are of no use",)


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix("")).removesuffix("_mask")


def _layout_of(tree: Tree, folder: str) -> Layout | None:
    base = f"{folder}/" if folder else ""
    below = {name for name in tree.folders if name.startswith(base)}
    if f"{base}train/good" in below or {f"{base}train", f"{base}test"} <= below:
        return "mvtec"
    if f"{base}normal" in below or any(f"{base}{name}" in below for name in UNLABELLED):
        return "plain"
    return None


def _top(tree: Tree) -> list[str]:
    return sorted(folder for folder in tree.folders if "/" not in folder)


def _visa(tree: Tree, category: str) -> Parts:
    rows = [row for row in visa.rows(tree, visa.PUBLIC) if row["object"] == category]
    there = set(tree.files)
    named: dict[str, list[str]] = {"train": [], "test": []}
    for row in rows:
        if row["split"] in named:
            named[row["split"]].append(row["image"])
    train = [path for path in named["train"] if path in there and is_image(path)]
    test = [path for path in named["test"] if path in there and is_image(path)]
    split_file = visa.split_file(tree) or visa.SPLIT_FILE
    odd = tuple(
        f"{len(wanted) - len(found)} of {len(wanted)} {what} images that {split_file} names are "
        "missing"
        for what, wanted, found in (
            ("training", named["train"], train),
            ("test", named["test"], test),
        )
        if len(found) < len(wanted)
    )
    where = f"split {{}} of {split_file}"
    _demand(tree, category, (where.format("train"), train), (where.format("test"), test))
    return Parts(tuple(train), tuple(test), (*odd, *orphans(tree, "visa", category, category)))


def _demand(
    tree: Tree, category: str, normals: tuple[str, list[str]], unlabelled: tuple[str, list[str]]
) -> None:
    (normal, train), (batch, test) = normals, unlabelled
    kinds = "PNG, JPEG, BMP or TIFF"
    if not train:
        raise DataError(
            f"category {category} of {tree.location} has no normal images: {normal} holds no "
            f"{kinds} file; put at least 4 images without defects there"
        )
    if not test:
        raise DataError(
            f"category {category} of {tree.location} has an empty test batch: {batch} holds no "
            f"{kinds} file that counts; put the unlabelled images to tune on there"
        )


def _left_out(tree: Tree, folders: tuple[str, ...]) -> tuple[str, ...]:
    others = [path for folder in folders for path in others_below(tree.files, folder)]
    if not others:
        return ()
    endings = Counter(PurePosixPath(path).suffix.lower() or "no ending" for path in others)
    common = ", ".join(ending for ending, _ in endings.most_common(3))
    return (
        f"{len(others)} files were left out ({common}); only {', '.join(ENDINGS)} are read: "
        "convert them if they are images",
    )


def _unknown(tree: Tree) -> str:
    deeper = [folder for folder in _top(tree) if _below_is_known(tree, folder)]
    if deeper:
        return f"no category lies directly in {tree.location}; try {tree.location}/{deeper[0]}" + (
            f" (or one of: {', '.join(deeper[1:5])})" if deeper[1:] else ""
        )
    loose = sum(is_image(path) for path in tree.files)
    if not tree.files:
        return f"{tree.location} is empty; {EXPECTED}"
    return (
        f"the layout of {tree.location} is not known ({loose} images in {len(_top(tree))} folders: "
        f"{', '.join(_top(tree)[:5]) or 'none'}); {EXPECTED}"
    )


def _below_is_known(tree: Tree, folder: str) -> bool:
    if f"{folder}/split_csv" in tree.folders:
        return True
    inner = (name for name in tree.folders if name.startswith(f"{folder}/"))
    return any(_layout_of(tree, name) for name in inner if name.count("/") == 1)
