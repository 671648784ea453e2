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
from tuner.gallery import corrupted_by, stages
from tuner.packaging import Sight
from tuner.report.page import Picture, Suspect
from tuner.report.page.thumbnails import heat_thumbnails, thumbnails
from tuner.report.pictures import heat_scale
from tuner.study.ledger import Entry
from tuner.study.workbench import Workbench

Array = NDArray[Any]

ENDS, IN_GALLERY = 12, 6


class Eye:
    """The winner's view of single test images; all its heat maps share one scale."""

    def __init__(self, bench: Workbench, sight: Sight) -> None:
        self.bench, self.scores = bench, sight.scores
        self.order = np.argsort(-self.scores, kind="stable")
        self._detector, self._scoring = sight.detector, sight.scoring
        self._scale = (0.0, 1.0)
        if isinstance(self._detector, MapDetector):
            ends = np.concatenate((self.order[:ENDS], self.order[::-1][:ENDS]))
            self._scale = heat_scale(self._maps(self._images(ends)))

    def suspects(self, indices: Array, notes: Sequence[str] = ()) -> list[Suspect]:
        """In the order given."""
        if not len(indices):
            return []
        images = self._images(indices)
        ranks = {int(index): rank for rank, index in enumerate(self.order, 1)}
        names = [f"unlabelled image with the {_ordinal(ranks[int(i)])} score" for i in indices]
        rows = {"image": thumbnails(images, names)}
        if isinstance(self._detector, ReconstructingDetector):
            made = self._detector.reconstruct(images)
            rows["reconstruction"] = thumbnails(made, [f"reconstruction of the {n}" for n in names])
        if isinstance(self._detector, MapDetector):
            alts = [f"heat map of the {n}" for n in names]
            rows["heat map"] = heat_thumbnails(images, self._maps(images), alts, self._scale)
        return [
            Suspect(
                ranks[int(index)],
                float(self.scores[index]),
                [replace(row[place], caption=caption) for caption, row in rows.items()],
                notes[place] if notes else "",
            )
            for place, index in enumerate(indices)
        ]

    def _images(self, indices: Array) -> Tensor:
        return unit(self.bench.data.test[torch.from_numpy(np.array(indices))])

    def _maps(self, images: Tensor) -> Array:
        return np.asarray(self._detector.maps(images, self._scoring).detach().cpu())


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
