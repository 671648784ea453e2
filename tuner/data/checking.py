"""What was recognised in a location, and what is wrong with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from tuner.data import survey
from tuner.data.errors import DataError
from tuner.data.images import checked_size
from tuner.data.layouts import Layout, masks
from tuner.data.preparation import said_of
from tuner.data.source import Listing, Source, TreeSource, demand, open_source
from tuner.data.splitting import FEWEST_NORMALS
from tuner.limits import processors


@dataclass(frozen=True)
class CategoryReport:
    """One category: counts, the sizes of its images as `HxW`, and what to mend.

    `masks` counts ground-truth files by name; none is opened. `problems` keep a study from
    starting, `warnings` do not.
    """

    category: str
    train: int = 0
    test: int = 0
    masks: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
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


def check(location: str, category: str | None = None, jobs: int | None = None) -> CheckReport:
    """Read every image of one category, or of all, and say what was found.

    Raises DataError where nothing can be recognised or the category does not exist; what is wrong
    within a category is in its report.
    """
    source = open_source(location)
    known = source.categories()
    if category is not None:
        demand(category, known, source.location)
    wanted = known if category is None else [category]
    reports = tuple(_category(source, name, jobs or processors()) for name in wanted)
    return CheckReport(source.location, source.layout, source.demo, reports, said_of(source))


def _category(source: Source, category: str, jobs: int) -> CategoryReport:
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
    sizes = _images(listing, jobs, problems, warnings)
    return CategoryReport(category, train, test, found, sizes, tuple(problems), tuple(warnings))


def _images(
    listing: Listing, jobs: int, problems: list[str], warnings: list[str]
) -> dict[str, int]:
    def look(items: tuple[Any, ...]) -> list[survey.Read]:
        return list(
            survey.in_parallel(lambda item: survey.read(item, None, keep=False), items, jobs)
        )

    train, test = look(listing.train), look(listing.test)
    for what, images in (("training", train), ("test", test)):
        try:
            warnings += survey.unreadable(what, images)
        except DataError as error:
            problems.append(str(error))
    both = [image for image in (*train, *test) if image.decoded]
    counted = survey.sizes(both)
    if len(counted) > 1:
        warnings.append(
            f"the images have {len(counted)} sizes ({survey.in_words(counted)}, height x width): "
            "say to which one to resize with --size"
        )
    else:
        try:
            for native in counted:
                checked_size(native)
        except DataError as error:
            warnings.append(str(error))
    scale = survey.depth(both)
    if scale.warning:
        warnings.append(scale.warning)
    return {f"{height}x{width}": count for (height, width), count in counted.most_common()}


def _masks(source: Source, category: str) -> int:
    if not isinstance(source, TreeSource):
        return 0
    tree, layout = source.tree, source.layout
    return len(masks(tree, layout, category, source.folder(category)))
