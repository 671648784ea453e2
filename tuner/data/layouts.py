"""Which folder layout a tree has, and which of its files are training and test images.

Pure functions of the paths in a tree (and, for VisA, of its split file). What a defect folder is
called is used to find files and goes no further.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Literal

from tuner.data import visa
from tuner.data.errors import DataError, Wanting
from tuner.data.tree import ENDINGS, Tree, images_below, is_image, others_below

Layout = Literal["demo", "mvtec", "visa", "plain"]

UNLABELLED = ("unlabelled", "unlabeled")
GOOD = "good"
_MASK = re.compile("_(mask|gt|label)$", re.IGNORECASE)
_MASK_FOLDER = re.compile("gt|ground_?truth|masks?", re.IGNORECASE)
OTHER_NAMES = {
    "normal": ("ok", "good", "normals", "io", "pass", "passed", "gut", "train"),
    "unlabelled": ("ng", "nok", "ko", "bad", "defect", "defects", "defective", "anomaly", "test",
                   "anomalies", "anomalous", "abnormal", "unsorted", "mixed", "batch", "nio"),
    "good": ("ok", "normal", "io", "pass", "gut"),
}  # fmt: skip
"""What folders of these layouts are called elsewhere; only ever suggested, never read."""
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
    if any(folder.split("/")[0].lower() == "split_csv" for folder in tree.folders):
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
        normal = child(tree, folder, "normal") or f"{base}normal"
        batch = child(tree, folder, *UNLABELLED) or f"{base}{UNLABELLED[0]}"
        train, test = images_below(tree.files, normal), images_below(tree.files, batch)
        spelled = {child(tree, folder, name) for name in UNLABELLED} - {None, batch}
        odd = tuple(f"{other} lies beside {batch} and was left out" for other in spelled)
        odd += _left_out(tree, (normal, batch))
    else:
        all_train = child(tree, folder, "train") or f"{base}train"
        normal = child(tree, all_train, "good") or f"{all_train}/good"
        batch = child(tree, folder, "test") or f"{base}test"
        train = images_below(tree.files, normal)
        below = images_below(tree.files, batch)
        test = [path for path in below if "/" in path.removeprefix(f"{batch}/")]
        odd = _left_out(tree, (normal, batch))
        if len(below) > len(test):
            odd += (
                f"{len(below) - len(test)} images lie directly in {batch} and were left out; put "
                "them into a folder below it, or use the layout normal/ and unlabelled/",
            )
        elsewhere = images_below(tree.files, all_train)
        if len(elsewhere) > len(train):
            odd += (
                f"{len(elsewhere) - len(train)} images in {all_train} lie outside {normal} and "
                "were left out",
            )
    odd += _twins(tree, (normal, batch)) + _masks_among(normal, train) + _masks_among(batch, test)
    _demand(tree, category, (normal, train), (batch, test))
    return Parts(tuple(train), tuple(test), (*odd, *orphans(tree, layout, category, folder)))


def masks(tree: Tree, layout: Layout, category: str, folder: str) -> dict[str, str | None]:
    """Every ground-truth file by path, with the image it belongs to (None: there is none).

    A mask has the name of its image, with `_mask`, `_gt` or `_label` after it or without; or it is
    one of several in a folder of that name, as in MVTec LOCO AD. Only names are compared; no
    ground-truth file is opened.
    """
    if layout == "visa":
        data = child(tree, category, "data") or f"{category}/Data"
        truth = child(tree, data, "masks") or f"{data}/Masks"
        images = child(tree, data, "images") or f"{data}/Images"
    elif layout == "mvtec":
        base = f"{folder}/" if folder else ""
        truth = child(tree, folder, "ground_truth") or f"{base}ground_truth"
        images = child(tree, folder, "test") or f"{base}test"
    else:
        return {}
    find = finder({_stem(path): path for path in images_below(tree.files, images)})
    found = {}
    for path in images_below(tree.files, truth):
        stem = images + _stem(path).removeprefix(truth)
        names = (stem, _MASK.sub("", stem), stem.rpartition("/")[0])
        found[path] = next(filter(None, map(find, names)), None)
    return found


def child(tree: Tree, folder: str, *names: str) -> str | None:
    """The path of the folder in `folder` ("" is the root) that has one of the names, in any case
    where none has it in this one."""
    there = _children(tree.folders).get(folder, {})
    for wanted in names:
        if wanted in there:
            return there[wanted]
    found = (there[name] for name in sorted(there) if name.lower() in names)
    return next(found, None)


def test_folders(tree: Tree, folder: str) -> list[str]:
    """The names of the folders in MVTec AD's `test`: `good`, and one for each kind of defect."""
    batch = child(tree, folder, "test")
    return [] if batch is None else sorted(_children(tree.folders).get(batch, ()))


def no_good_folder(names: Iterable[str]) -> str:
    """What is to be said where the folders of `test` name no good images; empty where they do."""
    names = list(names)
    if not names or any(name.lower() == GOOD for name in names):
        return ""
    meant = _meant(GOOD, names)
    return (
        f"test has no folder good, so that an audit counts every image of it as defective "
        f"({', '.join(names)})" + (f"; did you mean good by {meant}? Rename it" if meant else "")
    )


def finder(paths: Mapping[str, str]) -> Callable[[str], str | None]:
    """Looks paths up by a text, in any case where there is none in this one."""
    folded = {text.lower(): path for text, path in paths.items()}
    return lambda text: paths.get(text, folded.get(text.lower()))


@lru_cache(maxsize=4)
def _children(folders: frozenset[str]) -> dict[str, dict[str, str]]:
    """Of each folder, those in it: their paths by their names."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for path in folders:
        parent, _, name = path.rpartition("/")
        found[parent][name] = path
    return dict(found)


def _twins(tree: Tree, read: Iterable[str]) -> tuple[str, ...]:
    """A warning for folders whose names differ from those that are read by their case alone."""
    said = []
    for path in read:
        parent, _, name = path.rpartition("/")
        there = _children(tree.folders).get(parent, {})
        others = sorted(n for n in there if n.lower() == name.lower() and n != name)
        said += [f"{', '.join(others)} lies beside {path} and was left out"] if others else []
    return tuple(said)


def _meant(wanted: str, names: Iterable[str]) -> str | None:
    """Which of the names probably means a folder of the layouts."""
    by_lower = {name.lower(): name for name in names}
    known = [name for name in OTHER_NAMES[wanted] if name in by_lower]
    close = known or get_close_matches(wanted, by_lower, n=1, cutoff=0.75)
    return by_lower[close[0]] if close else None


def orphans(tree: Tree, layout: Layout, category: str, folder: str) -> tuple[str, ...]:
    """A warning where ground-truth files have no image."""
    found = masks(tree, layout, category, folder)
    lost = sum(image is None for image in found.values())
    if not lost:
        return ()
    return (f"{lost} of {len(found)} masks have no image of their name; they are of no use",)


def _masks_among(folder: str, images: Sequence[str]) -> tuple[str, ...]:
    """A warning where masks seem to lie among the images: they are in a folder for masks, or have
    the name of an image, with `_mask` and its like after it or with another ending."""
    stems = {_stem(path).lower() for path in images}
    names = {stem.rpartition("/")[2] for stem in stems}

    def named_so(path: str) -> bool:
        *folders, name = _stem(path.removeprefix(folder)).lower().split("/")
        plain = _MASK.sub("", name)
        return any(map(_MASK_FOLDER.fullmatch, folders)) or (plain != name and plain in names)

    found = sum(map(named_so, images)) + len(images) - len(stems)
    if not found:
        return ()
    return (
        f"{found} of {len(images)} images in {folder} seem to be masks of others there, by their "
        "names: masks among images would be taken for images; move them out",
    )


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))


def _layout_of(tree: Tree, folder: str) -> Layout | None:
    train = child(tree, folder, "train")
    if train and (child(tree, train, GOOD) or child(tree, folder, "test")):
        return "mvtec"
    return "plain" if child(tree, folder, "normal", *UNLABELLED) else None


def _top(tree: Tree) -> list[str]:
    return sorted(_children(tree.folders).get("", ()))


def _visa(tree: Tree, category: str) -> Parts:
    rows = [row for row in visa.rows(tree, visa.PUBLIC) if row["object"] == category]
    find = finder({path: path for path in tree.files if is_image(path)})
    named: dict[str, list[str]] = {"train": [], "test": []}
    for row in rows:
        named.get(row["split"].lower(), []).append(visa.plain(row["image"]))
    train, test = (
        [path for path in map(find, named[split]) if path is not None]
        for split in ("train", "test")
    )
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
    if named["train"] and not train:
        raise DataError(
            f"category {category} of {tree.location} has no normal images: none of the "
            f"{len(named['train'])} that {split_file} names is there (the first is "
            f"{named['train'][0]}); paths in it are relative to {tree.location}"
        )
    if named["test"] and not test:
        raise DataError(
            f"category {category} of {tree.location} has an empty test batch: none of the "
            f"{len(named['test'])} images that {split_file} names is there; restore them"
        )
    where = f"split {{}} of {split_file}"
    _demand(tree, category, (where.format("train"), train), (where.format("test"), test))
    return Parts(tuple(train), tuple(test), (*odd, *orphans(tree, "visa", category, category)))


def _demand(
    tree: Tree, category: str, normals: tuple[str, list[str]], unlabelled: tuple[str, list[str]]
) -> None:
    (normal, train), (batch, test) = normals, unlabelled
    kinds = "PNG, JPEG, BMP or TIFF"
    parent, _, name = normal.rpartition("/")
    if not train:
        there = _children(tree.folders).get(parent, ())
        meant = _meant(name, there) if name in OTHER_NAMES else None
        raise Wanting(
            f"category {category} of {tree.location} has no normal images: {normal} holds no "
            f"{kinds} file; put at least 4 images without defects there"
            + (f" (did you mean {name} by {meant}? Rename it)" if meant else ""),
            test=len(test),
        )
    if not test:
        known = batch in tree.folders
        state = f"{batch} holds no {kinds} file that counts" if known else f"{batch} is missing"
        raise Wanting(
            f"category {category} of {tree.location} has an empty test batch: {state}; put the "
            "unlabelled images to tune on there, good and bad parts unsorted",
            train=len(train),
        )


def _left_out(tree: Tree, folders: tuple[str, ...]) -> tuple[str, ...]:
    shut = [path for path in tree.closed if f"{path}/".startswith(tuple(f"{f}/" for f in folders))]
    said = (
        (f"{len(shut)} folders may not be looked into and were left out ({', '.join(shut[:3])})",)
        if shut
        else ()
    )
    others = [path for folder in folders for path in others_below(tree.files, folder)]
    if not others:
        return said
    endings = Counter(PurePosixPath(path).suffix.lower() or "no ending" for path in others)
    common = ", ".join(ending for ending, _ in endings.most_common(3))
    return (
        *said,
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
        f"{', '.join(_top(tree)[:5]) or 'none'}); {EXPECTED}" + _suggested(tree)
    )


def _suggested(tree: Tree) -> str:
    """Folders that other names are known for, and what to do with them."""
    for inside in ("", *_top(tree)):
        there = list(_children(tree.folders).get(inside, ()))
        normal = _meant("normal", there)
        if normal is None:
            continue
        batch = _meant("unlabelled", [name for name in there if name != normal])
        return (
            f". Did you mean normal by {normal}? Rename it, and put all images to be judged, good "
            "and bad, into unlabelled" + (f" (those of {batch} among them)" if batch else "")
        )
    return ""


def _below_is_known(tree: Tree, folder: str) -> bool:
    if child(tree, folder, "split_csv"):
        return True
    inner = (name for name in tree.folders if name.startswith(f"{folder}/"))
    return any(_layout_of(tree, name) for name in inner if name.count("/") == 1)
