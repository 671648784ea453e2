"""Single images as the winner sees them, and what training made of some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from methods.contract import MapDetector, ReconstructingDetector, unit
from tuner.data.errors import DataError
from tuner.data.images import decode
from tuner.data.originals import Original, originals
from tuner.data.survey import Depth, to_uint8
from tuner.gallery import corrupted_by, stages
from tuner.packaging import Sight
from tuner.registry.package import over_threshold
from tuner.report.page import Picture, Suspect
from tuner.report.page.thumbnails import heat_map, mask_picture, photograph, thumbnails
from tuner.report.pictures import heat_scale
from tuner.study.ledger import Entry
from tuner.study.workbench import Workbench

Array = NDArray[Any]

ENDS, IN_GALLERY = 12, 6
LEVEL, LEVELLED = 0.995, 32


class Eye:
    """The winner's view of single test images, beside their photographs; all its heat maps share
    one scale, and one level for what is outlined.

    `files` are where the images came from, in their order, None where that is not known. A name
    alone is shown of them, or with `opened` (no label is sealed any more) the folder, too.
    """

    def __init__(
        self,
        bench: Workbench,
        sight: Sight,
        threshold: float,
        files: Sequence[Original | None],
        *,
        opened: bool,
    ) -> None:
        self.bench, self.scores = bench, sight.scores
        self.order = np.argsort(-self.scores, kind="stable")
        self._threshold, self._files, self._opened = threshold, files, opened
        self._detector, self._scoring = sight.detector, sight.scoring
        self._scale, self._level = (0.0, 1.0), 0.0
        if isinstance(self._detector, MapDetector):
            ends = np.concatenate((self.order[:ENDS], self.order[::-1][:ENDS]))
            self._scale = heat_scale(self._maps(self._images(ends)))
            normal = self._maps(unit(bench.data.held_out[:LEVELLED]))
            self._level = float(np.quantile(normal, LEVEL))

    def name(self, index: int) -> str:
        """What the file of an image is called; empty where that is not known."""
        file = self._files[index]
        return "" if file is None else file.path if self._opened else file.name

    def suspects(
        self, indices: Array, notes: Sequence[str] = (), masks: Array | None = None
    ) -> list[Suspect]:
        """In the order given. `masks` bool `[M, h, w]` are the truth about the whole batch."""
        if not len(indices):
            return []
        images = self._images(indices)
        ranks = {int(index): rank for rank, index in enumerate(self.order, 1)}
        names = [
            self.name(int(i)) or f"unlabelled image with the {_ordinal(ranks[int(i)])} score"
            for i in indices
        ]
        shown = [self._photograph(int(index)) for index in indices]
        rows: dict[str, list[Picture]] = {}
        if isinstance(self._detector, MapDetector):
            maps = self._maps(images)
            both = list(zip(shown, maps, names, strict=True))
            rows["image, outlined"] = [
                photograph(image, n, amap, self._level) for image, amap, n in both
            ]
            rows["heat map"] = [
                heat_map(image, amap, f"heat map of the {n}", self._scale)
                for image, amap, n in both
            ]
        else:
            pairs = zip(shown, names, strict=True)
            rows["image"] = [photograph(image, name) for image, name in pairs]
        if isinstance(self._detector, ReconstructingDetector):
            made = self._detector.reconstruct(images)
            rows["reconstruction"] = thumbnails(made, [f"reconstruction of the {n}" for n in names])
        over = over_threshold(self.scores, self._threshold)
        found = []
        for place, index in enumerate(map(int, indices)):
            pictures = [replace(row[place], caption=caption) for caption, row in rows.items()]
            if masks is not None and masks[index].any():
                alt = f"true defect in the {names[place]}"
                truth = mask_picture(masks[index], shown[place], alt)
                pictures.append(replace(truth, caption="ground truth"))
            found.append(
                Suspect(
                    ranks[index],
                    float(self.scores[index]),
                    pictures,
                    notes[place] if notes else "",
                    self.name(index),
                    float(over[index]) if np.isfinite(over[index]) else None,
                )
            )
        return found

    def _photograph(self, index: int) -> Array:
        """uint8 `[H, W, 3]` at the file's own size, or at the study's where it is gone."""
        prepared, file = self.bench.prepared, self._files[index]
        if file is not None:
            try:
                pixels = decode(file.read(), None, self.bench.config.recipe).pixels
                depth = Depth(prepared.ceiling, prepared.floor)
                return np.ascontiguousarray(to_uint8(pixels, depth).transpose(1, 2, 0))
            except (OSError, ValueError, MemoryError):
                pass
        return np.ascontiguousarray(self.bench.parts.test[index].transpose(1, 2, 0))

    def _images(self, indices: Array) -> Tensor:
        return unit(self.bench.data.test[torch.from_numpy(np.array(indices))])

    def _maps(self, images: Tensor) -> Array:
        return np.asarray(self._detector.maps(images, self._scoring).detach().cpu())


def files_of(bench: Workbench) -> list[Original | None]:
    """Where the images of the batch came from, in its order; None where that is gone."""
    prepared = bench.prepared
    hashes = [prepared.test_hashes[i] for i in bench.parts.test_order]
    try:
        return originals(prepared.location, bench.config.category, hashes, prepared.path.parent)
    except (DataError, OSError):
        return [None] * len(hashes)


def corruptions(bench: Workbench, winner: Entry, default: Entry | None) -> dict[str, list[Picture]]:
    """The same normal images as they are, under the defaults' corruption, under the winner's."""
    space = bench.space(winner.method)
    start, end = space.complete(space.defaults), stages(bench, winner)[-1][1]
    normal, by_default = corrupted_by(bench, default or winner, start, IN_GALLERY)
    _, by_winner = corrupted_by(bench, winner, end, IN_GALLERY)
    rows = {"normal": normal, "defaults": by_default, "winner": by_winner}
    return {
        caption: thumbnails(images, [f"image {i + 1}, {caption}" for i in range(len(images))])
        for caption, images in rows.items()
    }


def _ordinal(number: int) -> str:
    last = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{last} highest"
