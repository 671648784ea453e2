"""What is kept of a stream of verdicts: a table, and heat maps over the images."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from tuner.addresses import file_name
from tuner.data.images import resize
from tuner.prediction.stream import Unreadable, Verdict

Format = Literal["csv", "jsonl"]
COLUMNS = ("image", "score", "anomalous", "threshold", "false_positive_rate", "overlay")
OVERLAYS = "overlays"

# Sides of an overlay in pixels: the shorter one is enlarged to so many where that leaves room for
# the longer one.
_SHORTEST, _LONGEST = 256, 2048
_BAND = 256  # rows that are painted at once, in floats


@dataclass(frozen=True)
class Written:
    """What a folder of predictions holds."""

    table: Path | None
    overlays: Path | None
    images: int
    anomalous: int
    unreadable: tuple[Unreadable, ...]

    def as_dict(self) -> dict[str, object]:
        return {
            "table": None if self.table is None else str(self.table),
            "overlays": None if self.overlays is None else str(self.overlays),
            "images": self.images,
            "anomalous": self.anomalous,
            "unreadable": [vars(image) for image in self.unreadable],
        }


def write_all(
    verdicts: Iterable[Verdict | Unreadable], folder: Path, kind: Format, overlays: bool
) -> Written:
    """Write `predictions.csv` or `.jsonl` and `overlays/NNNNNN-NAME.png`, one image after another.

    The table is complete or absent: it is renamed into place at the end. An overlay has the
    photograph's own size, up to 2048 pixels a side, with the heat map brought to it bilinearly;
    where the photograph cannot be read again, the size of the package. Colours run from the
    background to the highest pixel of the first image's map: the same scale for all of a run, so
    that pictures can be compared. Overlays of an earlier run give way to those of this one when it
    ends. Raises ValueError for a format that is unknown.
    """
    if kind not in ("csv", "jsonl"):
        raise ValueError(f"format is {kind!r}, but must be csv or jsonl")
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / f"predictions.{kind}"
    unreadable = list[Unreadable]()
    images = anomalous = 0
    with _drawn_aside(folder / OVERLAYS, overlays) as drafts, _aside(table) as file:
        painter = _Painter(drafts)
        writer = csv.DictWriter(file, COLUMNS)
        if kind == "csv":
            writer.writeheader()
        for verdict in verdicts:
            if isinstance(verdict, Unreadable):
                unreadable.append(verdict)
                continue
            row = _row(verdict, painter.paint(verdict, images))
            if kind == "csv":
                writer.writerow(row)
            else:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            images += 1
            anomalous += verdict.anomalous
    target = folder / OVERLAYS if overlays else None
    return Written(table, target, images, anomalous, tuple(unreadable))


def count_all(verdicts: Iterable[Verdict | Unreadable]) -> Written:
    """Go through a stream and write nothing."""
    unreadable = list[Unreadable]()
    images = anomalous = 0
    for verdict in verdicts:
        if isinstance(verdict, Unreadable):
            unreadable.append(verdict)
            continue
        images += 1
        anomalous += verdict.anomalous
    return Written(None, None, images, anomalous, tuple(unreadable))


def _row(verdict: Verdict, overlay: str) -> dict[str, object]:
    return {
        "image": verdict.name,
        "score": verdict.score,
        "anomalous": verdict.anomalous,
        "threshold": verdict.threshold,
        "false_positive_rate": verdict.false_positive_rate,
        "overlay": overlay,
    }


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
