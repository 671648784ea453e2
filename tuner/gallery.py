"""The pictures of a study that has ended: what was corrupted, what was learned, what is suspect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from methods.contract import (
    MapDetector,
    ReconstructingDetector,
    TuningMethod,
    stream_seed,
    unit,
)
from methods.hyperparameter import Value
from methods.registry import get_method
from tuner.packaging import sight_of
from tuner.study.home import StudyFolder
from tuner.study.ledger import Entry
from tuner.study.selection import Winner
from tuner.study.workbench import Workbench

PICTURES_STREAM = 0x71
SHOWN = 8
IN_STRIP = 4


def pictures(bench: Workbench, chosen: Winner, folder: StudyFolder, threshold: float) -> None:
    """Draw what the winner's corruption looked like and what it finds most suspicious."""
    from tuner.report.pictures import corruption_sheet, suspicious_sheet

    winner = chosen.lead
    normal, corrupted = corrupted_by(bench, winner, stages(bench, winner)[-1][1], SHOWN)
    caption = _caption(bench)
    corruption_sheet(normal, corrupted, folder.pictures / "corruption.png", caption=caption)
    strip(bench, winner, folder.pictures)
    sight = sight_of(bench, chosen, folder)
    detector, own = sight.detector, sight.scores
    worst = np.argsort(-own, kind="stable")[:SHOWN]
    images = unit(bench.data.test[torch.from_numpy(worst.copy())])
    suspicious_sheet(
        images,
        detector.reconstruct(images) if isinstance(detector, ReconstructingDetector) else None,
        detector.maps(images, sight.scoring) if isinstance(detector, MapDetector) else None,
        own[worst],
        threshold,
        folder.pictures / "suspicious.png",
        caption=caption,
    )


def strip(bench: Workbench, entry: Entry, target: Path) -> bool:
    """Draw into `target` what a self-tuning trial's augmentation looked like at each rung.

    False, and no picture, for a trial that learned nothing.
    """
    from tuner.report.strip import augmentation_strip

    found = stages(bench, entry)
    if len(found) == 1:
        return False
    drawn = [corrupted_by(bench, entry, values, IN_STRIP) for _, values in found]
    augmentation_strip(
        drawn[0][0],
        [corrupted for _, corrupted in drawn],
        [name for name, _ in found],
        target / "augmentation.png",
        title=f"What trial {entry.number} learned to make of normal images",
        caption=_caption(bench),
    )
    return True


def stages(bench: Workbench, entry: Entry) -> list[tuple[str, dict[str, Value]]]:
    """Hyperparameters that make a trial's corruption look as it did at the start and at each rung,
    with what to call them; the start alone where nothing was learned."""
    method = get_method(entry.method)
    start = bench.space(entry.method).complete(entry.point)
    found = [("start", start)]
    for record in entry.records:
        if isinstance(method, TuningMethod) and record.get("tuned"):
            lines = [
                f"rung {record['rung']}",
                *(f"{k} {v:.3g}" for k, v in record["tuned"].items()),
            ]
            found.append(("\n".join(lines), method.learned(start, record["tuned"])))
    return found


def corrupted_by(
    bench: Workbench, entry: Entry, hyperparameters: Mapping[str, Value], count: int
) -> tuple[Tensor, Tensor]:
    """Normal images and what a trial's corruption makes of them: always the same images, with the
    same draws."""
    generator = torch.Generator().manual_seed(stream_seed(bench.config.seed, PICTURES_STREAM))
    return get_method(entry.method).corrupt(bench.data, hyperparameters, count, generator)


def _caption(bench: Workbench) -> str:
    return "demo data" if bench.prepared.demo else ""
