"""What was recognised in a location, and what is wrong with it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from tuner.data import survey
from tuner.data.errors import DataError, Wanting
from tuner.data.images import SMALLEST, Size, checked_size
from tuner.data.layouts import Layout, masks, no_good_folder, test_folders
from tuner.data.opening import open_source
from tuner.data.preparation import aspect_warnings, content_warnings, said_of, size_warnings
from tuner.data.source import Item, Listing, Source, TreeSource, demand
from tuner.data.splitting import FEWEST_NORMALS, cautions
from tuner.data.survey import Read
from tuner.limits import processors

USUAL_SIZE = (192, 192)
"""What a launch resizes to where it is not told otherwise (256 x 256 on a GPU)."""


# Cells a side of an image's coarse appearance, the fewest normal images that have a rest to be
# unlike, and a mean shift (of a whole range of 1) that is none.
_CELLS = 8
_FEWEST_ALIKE = 8
_LEAST_SHIFT = 0.02
# From so many pixels a side in one on, a fine defect may be lost.
_SHRUNK = 3.0


@dataclass(frozen=True)
class Asked:
    """What a launch would be asked for, as far as the data must suit it."""

    size: Size | None = None
    held_out: float = 0.2
    false_positive_rate: float = 0.05


@dataclass(frozen=True)
class CategoryReport:
    """One category: counts, the sizes of its images as `HxW`, and what to mend.

    `depth` says how many images have 8 and 16 bits a sample, and which samples they use. `masks`
    counts ground-truth files by name; none is opened. `problems` keep a study from starting,
    `warnings` do not.
    """

    category: str
    train: int = 0
    test: int = 0
    masks: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    depth: str = ""
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """The layout of a location and its categories; `ok` where a study could start on each."""

    location: str
    layout: Layout
    demo: bool
    categories: tuple[CategoryReport, ...]
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not any(category.problems for category in self.categories)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"ok": self.ok, **asdict(self)}


def check(
    location: str,
    category: str | None = None,
    jobs: int | None = None,
    asked: Asked | None = None,
) -> CheckReport:
    """Read every image of one category, or of all, and say what was found.

    It says what a launch with the same `asked` would warn of, and more. Raises DataError where
    nothing can be recognised or the category does not exist; what is wrong within a category is in
    its report.
    """
    source = open_source(location)
    known = source.categories()
    if category is not None:
        demand(category, known, source.location)
    wanted = known if category is None else [category]
    asked = asked or Asked()
    checked_size(asked.size)
    reports = tuple(_category(source, name, jobs or processors(), asked) for name in wanted)
    return CheckReport(source.location, source.layout, source.demo, reports, said_of(source))


def _category(source: Source, category: str, jobs: int, asked: Asked) -> CategoryReport:
    found = _masks(source, category)
    try:
        listing = source.listing(category)
    except Wanting as error:
        return CategoryReport(category, error.train, error.test, found, problems=(str(error),))
    except DataError as error:
        return CategoryReport(category, masks=found, problems=(str(error),))
    train, test = len(listing.train), len(listing.test)
    if source.demo:
        # Generated images have nothing to be checked.
        return CategoryReport(category, train, test, warnings=listing.warnings)
    problems: list[str] = []
    warnings = list(listing.warnings)
    if train < FEWEST_NORMALS:
        problems.append(
            f"{train} normal images, but at least {FEWEST_NORMALS} are needed; add more"
        )
    if isinstance(source, TreeSource) and source.layout == "mvtec":
        mixed_up = no_good_folder(test_folders(source.tree, source.folder(category)))
        warnings += [mixed_up] if mixed_up else []
    sizes, used = _images(listing, jobs, asked, problems, warnings)
    return CategoryReport(
        category, train, test, found, sizes, used, tuple(problems), tuple(warnings)
    )


def _images(
    listing: Listing, jobs: int, asked: Asked, problems: list[str], warnings: list[str]
) -> tuple[dict[str, int], str]:
    look = partial(_look, size=asked.size or USUAL_SIZE)
    seen = [list(survey.in_parallel(look, items, jobs)) for items in (listing.train, listing.test)]
    train, test = ([image for image, _ in part] for part in seen)
    for what, images in (("training", train), ("test", test)):
        try:
            warnings += survey.unreadable(what, images)
        except DataError as error:
            problems.append(str(error))
    both = [image for image in (*train, *test) if image.decoded]
    counted = survey.sizes(both)
    if asked.size is not None:
        warnings += size_warnings(both, asked.size)
    else:
        if len(counted) > 1:
            warnings.append(
                f"the images have {len(counted)} sizes ({survey.in_words(counted)}, height x "
                "width): say to which one to resize with --size"
            )
        warnings += aspect_warnings(counted, USUAL_SIZE)
    warnings += _shrinking(counted, asked.size or USUAL_SIZE)
    small = sum(count for native, count in counted.items() if min(native) < SMALLEST)
    if small:
        warnings.append(f"{small} images have less than {SMALLEST} pixels a side, and are enlarged")
    scale = survey.depth(both)
    warnings += content_warnings(train, test, scale)
    normals = len({image.hash for image in train if image.decoded})
    if normals >= FEWEST_NORMALS:
        unlabelled = sum(image.decoded is not None for image in test)
        warnings += cautions(normals, unlabelled, asked.held_out, asked.false_positive_rate)
    warnings += unlike_warnings(*seen)
    sizes = {f"{height}x{width}": count for (height, width), count in counted.most_common()}
    return sizes, survey.depth_in_words(both, scale)


def _shrinking(counted: Counter[Size], size: Size) -> list[str]:
    """What is lost of images that are much larger than what a detector sees."""
    if not counted:
        return []
    ((height, width), _) = counted.most_common(1)[0]
    times = math.sqrt(height * width / (size[0] * size[1]))
    if times < _SHRUNK:
        return []
    return [
        f"images of {height} x {width} become {size[0]} x {size[1]}: a pixel then stands for "
        f"{times:.2g} a side, and what is thinner than that fades; --size {2 * size[0]}x"
        f"{2 * size[1]} takes about four times as long"
    ]


def _look(item: Item, size: Size) -> tuple[Read, np.ndarray | None]:
    """An image without its pixels, and its coarse appearance: the mean of each of 8 x 8 cells and
    each channel, as a share of the largest sample there can be."""
    image = survey.read(item, size)
    if image.decoded is None:
        return image, None
    pixels = image.decoded.pixels
    height, width = (side - side % _CELLS for side in pixels.shape[1:])
    cells = pixels[:, :height, :width].reshape(3, _CELLS, height // _CELLS, _CELLS, width // _CELLS)
    seen = cells.mean((2, 4)).ravel() / np.iinfo(pixels.dtype).max
    empty = np.empty((3, 0, 0), pixels.dtype)
    return replace(image, decoded=replace(image.decoded, pixels=empty)), seen


def unlike_warnings(
    train: Sequence[tuple[Read, np.ndarray | None]], test: Sequence[tuple[Read, np.ndarray | None]]
) -> list[str]:
    """What to say of images whose coarse appearance is far from that of the normal ones.

    Far is beyond Tukey's outer fence (the upper quartile and three times the distance between the
    quartiles) of the distances of the normal images from their median. Names are given of normal
    images alone.
    """
    normals = [seen for _, seen in train if seen is not None]
    if len(normals) < _FEWEST_ALIKE:
        return []
    centre = np.median(normals, axis=0)

    def far(seen: np.ndarray | None) -> bool:
        return seen is not None and float(np.abs(seen - centre).mean()) > limit

    distances = [float(np.abs(seen - centre).mean()) for seen in normals]
    low, high = np.quantile(distances, (0.25, 0.75))
    limit = max(high + 3 * (high - low), high + _LEAST_SHIFT)
    odd = [image.name for image, seen in train if far(seen)]
    said = []
    if odd:
        named = f"{', '.join(odd[:3])}{', ...' if len(odd) > 3 else ''}"
        said.append(
            f"{len(odd)} of {len(normals)} normal images look unlike the rest ({named}): look "
            "whether they are of this part, under this light"
        )
    others, there = sum(far(seen) for _, seen in test), sum(seen is not None for _, seen in test)
    if others:
        said.append(
            f"{others} of {there} unlabelled images ({others / there:.0%}) look unlike the normal "
            "ones as a whole: a large defect, or another part, position or light"
        )
    return said


def _masks(source: Source, category: str) -> int:
    if not isinstance(source, TreeSource):
        return 0
    tree, layout = source.tree, source.layout
    return len(masks(tree, layout, category, source.folder(category)))
