"""What was recognised in a location, and what is wrong with it."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from tuner.data import survey
from tuner.data.errors import DataError
from tuner.data.images import SMALLEST, Size, checked_size
from tuner.data.layouts import Layout, masks, no_good_folder, test_folders
from tuner.data.opening import open_source
from tuner.data.preparation import aspect_warnings, content_warnings, said_of, size_warnings
from tuner.data.source import Listing, Source, TreeSource, demand
from tuner.data.splitting import FEWEST_NORMALS, held_out
from tuner.limits import processors

USUAL_SIZE = (128, 128)
"""What a launch resizes to where it is not told otherwise (256 x 256 on a GPU)."""


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
    look = partial(survey.read, size=asked.size or USUAL_SIZE, keep=False)
    train, test = (
        list(survey.in_parallel(look, items, jobs)) for items in (listing.train, listing.test)
    )
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
    small = sum(count for native, count in counted.items() if min(native) < SMALLEST)
    if small:
        warnings.append(f"{small} images have less than {SMALLEST} pixels a side, and are enlarged")
    scale = survey.depth(both)
    warnings += content_warnings(train, test, scale)
    normals = len({image.hash for image in train if image.decoded})
    if normals >= FEWEST_NORMALS:
        warnings += _few(normals, asked)
    sizes = {f"{height}x{width}": count for (height, width), count in counted.most_common()}
    return sizes, survey.depth_in_words(both, scale)


def _few(normals: int, asked: Asked) -> list[str]:
    """A warning where the normals that would be held out cannot support the false-positive rate."""
    rate = asked.false_positive_rate
    kept = held_out(normals, asked.held_out)
    if (kept + 1) * rate >= 1 - 1e-12:
        return []
    enough = next(
        count
        for count in itertools.count(normals)
        if (held_out(count, asked.held_out) + 1) * rate >= 1 - 1e-12
    )
    return [
        f"{normals} normal images are few: the {kept} of them that are kept from training support "
        f"a false-positive rate of {1 / (kept + 1):.2g}, not {rate:g}; {enough} normal images would"
    ]


def _masks(source: Source, category: str) -> int:
    if not isinstance(source, TreeSource):
        return 0
    tree, layout = source.tree, source.layout
    return len(masks(tree, layout, category, source.folder(category)))
