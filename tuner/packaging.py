"""From trials to a packaged model, and how that model sees the unlabelled batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from methods.contract import BackedDetector, Detector, Scoring, everything, unit
from methods.ensemble import ENSEMBLE, Member, ensemble_of
from tuner.study.files import TrialFiles
from tuner.study.home import StudyFolder
from tuner.study.ledger import Entry
from tuner.study.selection import Winner
from tuner.study.workbench import Workbench, restore
from tuner.versions import versions

if TYPE_CHECKING:
    from tuner.registry import Threshold, Trained

Array = NDArray[Any]

BATCH = 32


def package_winner(bench: Workbench, winner: Winner, folder: StudyFolder) -> Threshold:
    """Write the package of a study's winner, a trial or an ensemble; returns its threshold."""
    if winner.members:
        return package_ensemble(bench, winner.members, folder.package, folder)
    return package(bench, winner.lead, folder.package, folder)


def package(bench: Workbench, entry: Entry, target: Path, folder: StudyFolder) -> Threshold:
    """Write a trial's detector as a packaged model into `target`; returns its threshold.

    Held-out normals are scored as the package will score, whatever format training used.
    """
    from tuner.registry import calibrate

    detector = restore(bench, entry, folder)
    held_out, threshold = calibrate(
        detector,
        entry.last["scoring"],
        bench.parts.held_out,
        bench.config.false_positive_rate,
        bench.config.threshold,
    )
    made = _trained(bench, entry)
    _save(bench, target, made, everything(detector), threshold, held_out=held_out, of=[detector])
    return threshold


def package_ensemble(
    bench: Workbench, members: Sequence[Entry], target: Path, folder: StudyFolder
) -> Threshold:
    """Write the joint detector of several trials as one packaged model; returns its threshold.

    Each member's scale is taken from the unlabelled batch and the held-out normals, in float32. Its
    scores of the batch are kept beside the package: a pass of every member costs time.
    """
    from tuner.registry import Trained, threshold_of

    parts = bench.parts
    test, held_out = torch.from_numpy(parts.test), torch.from_numpy(parts.held_out)
    made = [
        Member.of(restore(bench, entry, folder), entry.last["scoring"], test, held_out)
        for entry in members
    ]
    shares = [member.score_scale(scores) for member, scores in made]
    joint = torch.stack(shares).mean(0).double().numpy()
    of_test, of_held_out = joint[: len(parts.test)], joint[len(parts.test) :]
    config = bench.config
    threshold = threshold_of(of_held_out, config.false_positive_rate, config.threshold)
    ensemble = ensemble_of([member for member, _ in made])
    joined = Trained(members[0].number, ENSEMBLE, {}, {})
    trained = [_trained(bench, entry) for entry in members]
    _save(
        bench,
        target,
        joined,
        ensemble.weights(),
        threshold,
        held_out=of_held_out,
        of=[member.detector for member, _ in made],
        members=trained,
    )
    if target == folder.package:
        draft = folder.joint_scores.with_suffix(".part.npy")
        np.save(draft, of_test)
        draft.replace(folder.joint_scores)
    return threshold


@dataclass(frozen=True)
class Sight:
    """How a winner sees the unlabelled batch: its detector under one scoring, its scores `[M]`."""

    detector: Any
    scoring: Scoring
    scores: Array


def sight_of(bench: Workbench, winner: Winner, folder: StudyFolder) -> Sight:
    """The sight of a winner that is packaged."""
    if not winner.members:
        own = TrialFiles(folder.trial(winner.lead.number)).own_scores()
        return Sight(restore(bench, winner.lead, folder), winner.lead.last["scoring"], own)
    return Sight(joint_detector(folder), {}, joint_scores(folder))


def caught(bench: Workbench, sight: Sight, threshold: float) -> dict[str, float]:
    """Of good parts with a pasted defect, the share whose score is above the threshold, by kind."""
    pasted = pasted_scores(bench, sight)
    return {kind: float((scores > threshold).mean()) for kind, scores in pasted.items()}


def pasted_scores(bench: Workbench, sight: Sight) -> dict[str, Array]:
    """Scores of good parts with a pasted defect, by its kind.

    The good parts are the held-out normals: a flag there can come from the pasted defect alone,
    whereas the unlabelled batch may hold defects of its own. Kinds that were pasted on none are
    left out.
    """
    pasted = bench.arrays.synthetic
    good = ~pasted["on_test"]
    family, images = pasted["family"][good], torch.from_numpy(pasted["images"][good])
    if not len(images):
        return {}
    parts = [sight.detector.scores(unit(part), sight.scoring) for part in images.split(BATCH)]
    scores = torch.cat(parts).double().numpy()
    return {
        name: scores[family == place]
        for place, name in enumerate(pasted["families"])
        if (family == place).any()
    }


def joint_scores(folder: StudyFolder) -> Array:
    """Scores `[M]` of the unlabelled batch by the ensemble that a study packaged. Raises ValueError
    where their file is lost."""
    try:
        return np.asarray(np.load(folder.joint_scores))
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"{folder.joint_scores} is lost ({error}); it is written again by: tuner resume "
            f"{folder.path.name}"
        ) from None


def joint_detector(folder: StudyFolder) -> Detector:
    """The ensemble that a study packaged, on the CPU. Raises PackageError."""
    from tuner.registry import load_package

    return load_package(folder.package, "cpu").detector


def _trained(bench: Workbench, entry: Entry) -> Trained:
    from tuner.registry import Trained

    hyperparameters = bench.space(entry.method).complete(entry.point)
    return Trained(entry.number, entry.method, hyperparameters, entry.last["scoring"])


def _save(
    bench: Workbench,
    target: Path,
    made: Trained,
    weights: Mapping[str, Tensor],
    threshold: Threshold,
    *,
    held_out: ArrayLike,
    of: Sequence[Detector],
    members: Sequence[Trained] = (),
) -> None:
    from tuner.registry import save_package

    save_package(
        target,
        method=made.method,
        hyperparameters=made.hyperparameters,
        scoring=made.scoring,
        weights=weights,
        size=bench.data.size,
        threshold=threshold.value,
        false_positive_rate=bench.config.false_positive_rate,
        held_out_scores=held_out,
        category=bench.config.category,
        study=bench.config.name,
        fingerprint=bench.prepared.fingerprint,
        versions=versions(),
        ceiling=bench.prepared.ceiling,
        floor=bench.prepared.floor,
        recipe=bench.config.recipe,
        members=members,
        backbones=[each.backbone for each in of if isinstance(each, BackedDetector)],
    )
