"""The audit of one study: finds its contenders and hands them to the metrics with the labels."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from methods.contract import unit
from tuner.evaluation.audit import Contender, audit_contenders, open_labels, rank_trials
from tuner.study.files import TrialFiles
from tuner.study.home import StudyFolder
from tuner.study.jsonfile import write_json
from tuner.study.ledger import Entry, Ledger
from tuner.study.selection import rank
from tuner.study.workbench import Workbench, restore


def audit_study(
    bench: Workbench, ledger: Ledger, folder: StudyFolder, winner: int
) -> dict[str, Any] | None:
    """Open the labels of a study that has ended and measure winner, defaults and best trial.

    Returns None where the data hold no labels. Nothing of it flows back into the study.
    """
    config = bench.config
    hashes = [bench.prepared.test_hashes[i] for i in bench.parts.test_order]
    prepared = bench.prepared
    labels = open_labels(
        prepared.location, config.category, prepared.size, hashes, prepared.path.parent
    )
    if labels is None:
        return None
    judged = rank(ledger.entries(), bench.objectives[0])
    scores = {entry.number: TrialFiles(folder.trial(entry.number)).scores() for entry in judged}
    own = {number: found["test"][int(found["setting"])] for number, found in scores.items()}
    aurocs = rank_trials(labels, own)

    def contender(entry: Entry, setting: int | None = None) -> Contender:
        grid = bench.space(entry.method).grid
        index = int(scores[entry.number]["setting"]) if setting is None else setting
        detector = restore(bench, entry, folder)
        maps = None
        if hasattr(detector, "maps"):
            maps = functools.partial(maps_of, bench, detector, grid[index])
        return Contender(scores[entry.number]["test"][index], maps)

    chosen = next(entry for entry in judged if entry.number == winner)
    contenders = {"winner": contender(chosen)}
    default = next((entry for entry in judged if entry.kind == "default"), None)
    if default is not None:
        setting = bench.space(default.method).default_setting
        contenders["default"] = contender(default, setting)
    # `rank_trials` puts the best first and what is undefined last.
    best = next(entry for entry in judged if entry.number == next(iter(aurocs)))
    contenders["best"] = contender(best)
    audit: dict[str, Any] = audit_contenders(labels, contenders)
    audit["trials"] = {
        "winner": winner,
        "default": None if default is None else default.number,
        "best": best.number,
        "mean_image_auroc": float(np.nanmean(list(aurocs.values()))),
        "image_auroc": {str(number): value for number, value in aurocs.items()},
    }
    write_json(folder.audit, audit)
    return audit


def maps_of(bench: Workbench, detector: Any, scoring: Mapping[str, Any]) -> Iterator[np.ndarray]:
    """The maps of the test batch, one by one, from a trial's kept detector."""
    for start in range(0, len(bench.data.test), 32):
        yield from detector.maps(unit(bench.data.test[start : start + 32]), scoring).numpy()
