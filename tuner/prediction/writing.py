"""What is kept of a stream of verdicts: a table, and heat maps over the images."""

from __future__ import annotations

import csv
import heapq
import json
import math
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from tuner.addresses import file_name, printable
from tuner.data.images import Size, resize
from tuner.prediction.stream import Unreadable, Verdict

Format = Literal["csv", "jsonl"]
COLUMNS = (
    "image", "score", "score_over_threshold", "verdict", "anomalous", "threshold",
    "false_positive_rate", "box_left", "box_top", "box_width", "box_height", "model", "version",
    "overlay",
)  # fmt: skip
OVERLAYS = "overlays"
INDEX = "index.html"

_WORST = 5
_DIGITS = 6

# Sides of an overlay in pixels: the shorter one is enlarged to so many where that leaves room for
# the longer one.
_SHORTEST, _LONGEST = 256, 2048
_BAND = 256  # rows that are painted at once, in floats


@dataclass(frozen=True)
class Worst:
    """One of the images with the highest scores."""

    name: str
    score: float
    score_over_threshold: float


@dataclass(frozen=True)
class Written:
    """What a folder of predictions holds; `worst` are the images with the highest scores, highest
    first. `threshold` is None where no image was judged."""

    table: Path | None
    overlays: Path | None
    images: int
    anomalous: int
    unreadable: tuple[Unreadable, ...]
    index: Path | None = None
    threshold: float | None = None
    worst: tuple[Worst, ...] = ()

    def as_dict(self) -> dict[str, object]:
        return {
            "table": None if self.table is None else str(self.table),
            "overlays": None if self.overlays is None else str(self.overlays),
            "images": self.images,
            "anomalous": self.anomalous,
            "unreadable": [vars(image) for image in self.unreadable],
            "index": None if self.index is None else str(self.index),
            "threshold": self.threshold,
            "worst": [
                {
                    "image": each.name,
                    "score": each.score,
                    "score_over_threshold": _finite(each.score_over_threshold),
                }
                for each in self.worst
            ],
        }


class _Tally:
    """What is counted of a stream as it goes by."""

    def __init__(self) -> None:
        self.images = self.anomalous = 0
        self.threshold: float | None = None
        self.unreadable = list[Unreadable]()
        self._worst = list[tuple[float, int, Worst]]()

    def judged(self, verdicts: Iterable[Verdict | Unreadable]) -> Iterator[Verdict]:
        """The images that could be read, each counted once it is dealt with."""
        for verdict in verdicts:
            if isinstance(verdict, Unreadable):
                self.unreadable.append(verdict)
                continue
            yield verdict
            worst = Worst(verdict.name, verdict.score, verdict.score_over_threshold)
            heapq.heappush(self._worst, (verdict.score, -self.images, worst))
            if len(self._worst) > _WORST:
                heapq.heappop(self._worst)
            self.images += 1
            self.anomalous += verdict.anomalous
            self.threshold = verdict.threshold

    def written(
        self, table: Path | None = None, overlays: Path | None = None, index: Path | None = None
    ) -> Written:
        worst = tuple(each for _, _, each in sorted(self._worst, reverse=True))
        return Written(
            table, overlays, self.images, self.anomalous, tuple(self.unreadable), index,
            self.threshold, worst,
        )  # fmt: skip


def write_all(
    verdicts: Iterable[Verdict | Unreadable],
    folder: Path,
    kind: Format,
    overlays: bool,
    model: tuple[str, str] = ("", ""),
) -> Written:
    """Write `predictions.csv` or `.jsonl`, `overlays/NNNNNN-NAME.png`, one image after another, and
    `index.html`, which shows them with the highest score first.

    `model` is the name and version that the table tells. Numbers have six digits; a box is that of
    the hottest region, in pixels of the photograph. Table and index are complete or absent: they
    are renamed into place at the end. An overlay has the
    photograph's own size, up to 2048 pixels a side, with the heat map brought to it bilinearly;
    where the photograph cannot be read again, the size of the package. Colours run from the
    background to the highest pixel of the first image's map: the same scale for all of a run, so
    that pictures can be compared. Overlays of an earlier run give way to those of this one when it
    ends. Raises ValueError for a format that is unknown.
    """
    if kind not in ("csv", "jsonl"):
        raise ValueError(f"format is {kind!r}, but must be csv or jsonl")
    folder.mkdir(parents=True, exist_ok=True)
    table, index = folder / f"predictions.{kind}", folder / INDEX
    tally = _Tally()
    shown = list[dict[str, Any]]()
    with _drawn_aside(folder / OVERLAYS, overlays) as drafts, _aside(index) as page:
        with _aside(table) as file:
            painter = _Painter(drafts)
            writer = csv.DictWriter(file, COLUMNS)
            if kind == "csv":
                writer.writeheader()
            for verdict in tally.judged(verdicts):
                row = _row(verdict, painter.paint(verdict, tally.images), model)
                if kind == "csv":
                    writer.writerow(row)
                else:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                shown.append({key: row[key] for key in _ON_INDEX})
        page.write(_index(shown, tally, table.name, model))
    return tally.written(table, folder / OVERLAYS if overlays else None, index)


def count_all(verdicts: Iterable[Verdict | Unreadable]) -> Written:
    """Go through a stream and write nothing."""
    tally = _Tally()
    for _ in tally.judged(verdicts):
        pass
    return tally.written()


_ON_INDEX = ("image", "score", "score_over_threshold", "anomalous", "overlay")


def _index(rows: list[dict[str, Any]], tally: _Tally, table: str, model: tuple[str, str]) -> str:
    from importlib.resources import files

    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"address": quote, "printable": printable}
    source = (files("tuner.prediction") / INDEX).read_text()
    rows.sort(key=lambda row: -row["score"])
    return environment.from_string(source).render(
        rows=rows, tally=tally, table=table, model=" version ".join(filter(None, model))
    )


def _row(verdict: Verdict, overlay: str, model: tuple[str, str]) -> dict[str, object]:
    box = (None,) * 4 if verdict.map is None else hottest_box(verdict.map, verdict.size)
    return {
        "image": verdict.name,
        "score": _rounded(verdict.score),
        "score_over_threshold": _finite(_rounded(verdict.score_over_threshold)),
        "verdict": "anomalous" if verdict.anomalous else "normal",
        "anomalous": verdict.anomalous,
        "threshold": _rounded(verdict.threshold),
        "false_positive_rate": verdict.false_positive_rate,
        **dict(zip(("box_left", "box_top", "box_width", "box_height"), box, strict=True)),
        "model": model[0],
        "version": model[1],
        "overlay": overlay,
    }


def hottest_box(amap: NDArray[np.float32], size: Size) -> tuple[int, int, int, int]:
    """Left, top, width and height of the hottest region of a map `[h, w]`, in pixels of an image of
    H x W `size`.

    The region is what touches the highest pixel and lies above the middle between the median of the
    map and that pixel.
    """
    from scipy.ndimage import find_objects, label

    from tuner.evaluation.regions import EIGHT_CONNECTED

    peak = np.unravel_index(int(amap.argmax()), amap.shape)
    labelled, _ = label(amap >= (float(np.median(amap)) + amap[peak]) / 2, EIGHT_CONNECTED)
    rows, columns = find_objects(labelled)[labelled[peak] - 1]
    ends = []
    for span, own, wanted in zip((columns, rows), amap.shape[::-1], size[::-1], strict=True):
        first, last = span.start * wanted // own, -(-span.stop * wanted // own)
        ends.append((first, max(1, last - first)))
    (left, width), (top, height) = ends
    return left, top, width, height


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class _Painter:
    """Draws overlays, all on the scale of the first one."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._scale: tuple[float, float] | None = None

    def paint(self, verdict: Verdict, number: int) -> str:
        """The overlay's path below the folder of predictions; empty where none is drawn."""
        if self._folder is None or verdict.map is None:
            return ""
        from PIL import Image

        from tuner.report.pictures import heat_scale, overlay

        if self._scale is None:
            self._scale = heat_scale(verdict.map)
        image = _shown(verdict)
        heat = np.asarray(
            Image.fromarray(verdict.map).resize(image.shape[1::-1], Image.Resampling.BILINEAR)
        )
        drawn = np.empty_like(image)
        for first in range(0, len(image), _BAND):
            band = slice(first, first + _BAND)
            painted = overlay(image[band] / np.float32(255), heat[band], *self._scale)
            drawn[band] = np.rint(painted.clip(0, 1) * 255)
        picture = Image.fromarray(drawn)
        factor = min(-(-_SHORTEST // min(picture.size)), _LONGEST // max(picture.size))
        if factor > 1:
            picture = picture.resize((picture.width * factor, picture.height * factor))
        name = f"{number:06d}-{file_name(PurePosixPath(verdict.name).stem)}.png"
        picture.save(self._folder / name)
        return f"{OVERLAYS}/{name}"


def _shown(verdict: Verdict) -> NDArray[np.uint8]:
    """The photograph `[H, W, 3]` for an overlay, or what the network saw of it."""
    try:
        image = verdict.photograph()
    except (OSError, ValueError, MemoryError):  # gone or changed since it was judged
        image = verdict.image
    image = np.ascontiguousarray(image.transpose(1, 2, 0))
    height, width = image.shape[:2]
    longer = max(height, width)
    if longer <= _LONGEST:
        return image
    size = (max(1, height * _LONGEST // longer), max(1, width * _LONGEST // longer))
    return resize(image, size)


@contextmanager
def _drawn_aside(folder: Path, wanted: bool) -> Iterator[Path | None]:
    """Where overlays are drawn until all are; then those of an earlier run give way to them."""
    drafts = folder.with_name(folder.name + ".part")
    shutil.rmtree(drafts, ignore_errors=True)
    try:
        if wanted:
            drafts.mkdir()
        yield drafts if wanted else None
        for old in folder.glob("[0-9]" * 6 + "-*.png"):
            old.unlink()
        if wanted:
            folder.mkdir(exist_ok=True)
            for drawn in drafts.iterdir():
                drawn.replace(folder / drawn.name)
    finally:
        shutil.rmtree(drafts, ignore_errors=True)


@contextmanager
def _aside(path: Path) -> Iterator[IO[str]]:
    draft = path.with_name(path.name + ".part")
    try:
        # A name that is not UTF-8 must not cost the table.
        with draft.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            yield file
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    draft.replace(path)
