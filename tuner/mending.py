"""Files of judged trials that were lost: made again where what they came from is left.

The ledger says how every trial was judged. What lies in a trial's folder is needed to compare its
scores with those of others, and to package it; a disk may lose or spoil any of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from methods.contract import Context, Progress
from methods.ensemble import member_weights
from methods.registry import get_method
from tuner.study.depot import DepotError
from tuner.study.files import FilesLost, TrialFiles
from tuner.study.home import StudyFolder
from tuner.study.ledger import Entry
from tuner.study.trial import Bench, TrialSpec
from tuner.study.workbench import Workbench


@dataclass
class Mended:
    """What was lost, a sentence for each trial, and which trials have no weights any more."""

    said: list[str] = field(default_factory=list)
    without_weights: set[int] = field(default_factory=set)


def mend(
    bench: Workbench,
    entries: Sequence[Entry],
    folder: StudyFolder,
    registered: Mapping[str, Any] | None,
    files: Callable[[int], TrialFiles] | None = None,
) -> Mended:
    """Look through the folders of the judged trials, and make again what can be.

    Weights come back from the depot or from packages of the study, scores from weights.
    `registered` is the winner as the ledger notes it. Raises Unkept where there is no room.
    """
    found = Mended()
    for entry in entries:
        if entry.state not in ("finished", "stopped_early") or not entry.records:
            continue
        own = TrialFiles(folder.trial(entry.number)) if files is None else files(entry.number)
        lost = own.lost()
        if not lost:
            continue
        weights = _weights(own, entry.number, folder, registered)
        names = " and ".join(str(each) for each in lost)
        if weights is None:
            found.without_weights.add(entry.number)
            found.said.append(
                f"trial {entry.number} has lost its files ({names}): it cannot win, and is left "
                "out of what needs its scores"
            )
            continue
        own.keep_weights(weights)
        if any(each.file.name != own.detector.name for each in lost):
            own.keep_scores(_scores(bench, entry, weights))
        found.said.append(
            f"trial {entry.number} had lost files ({names}); they were made again from its weights"
        )
    return found


def _weights(
    files: TrialFiles, number: int, folder: StudyFolder, registered: Mapping[str, Any] | None
) -> Mapping[str, Tensor] | None:
    """The weights of a trial, from wherever they are left."""
    try:
        return files.weights()
    except FilesLost:
        pass
    try:
        if files.fetch():
            return files.weights()
    except (FilesLost, DepotError):
        pass
    kept = _packaged(folder.path / "best" / f"{number:04d}")
    if kept is not None or registered is None:
        return kept
    members = list(registered.get("members", ()))
    if number in members:
        joint = _packaged(folder.package)
        return None if joint is None else member_weights(members.index(number), joint)
    if members or registered["trial"] != number:
        return None
    return _packaged(folder.package)


def _packaged(folder: Path) -> Mapping[str, Tensor] | None:
    """The weights in a package; None where there is none that is whole."""
    from safetensors.torch import load_file

    from tuner.registry.package import WEIGHTS_FILE, PackageError, load_package

    try:
        load_package(folder, "cpu")
    except PackageError:
        return None
    return load_file(folder / WEIGHTS_FILE)


def _scores(bench: Workbench, entry: Entry, weights: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """What the trial kept of its last rung, judged again; its setting is the ledger's."""
    config, space, last = bench.config, bench.space(entry.method), entry.last
    spec = TrialSpec(
        number=entry.number,
        method=entry.method,
        hyperparameters=space.complete(entry.point),
        grid=space.grid,
        criteria=bench.criteria,
        leading=bench.objectives[0].name,
        seed=config.seed,
        rungs=config.rungs,
        folder="",
        default_setting=space.default_setting,
    )
    judge = Bench(spec, bench.arrays, bench.data, Context(seed=config.seed, rungs=config.rungs))
    progress = Progress(
        rung=entry.rung,
        train_loss=last["train_loss"],
        detector=get_method(entry.method).restore(spec.hyperparameters, weights),
        tuned=last.get("tuned", {}),
        diagnostics=last.get("diagnostics", {}),
    )
    _, scores = judge.record(progress)
    return {**scores, "setting": np.asarray(last["setting"])}
