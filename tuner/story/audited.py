"""What labels say afterwards, where an audit has opened them before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.evaluation.audit import Truth
from tuner.registry.package import threshold_of
from tuner.report.page import Audited, Confusion, DefectRow, Suspect, TrialRow
from tuner.report.page.charts import curve, scatter
from tuner.report.page.wording import words
from tuner.story.images import Eye
from tuner.study.files import FilesLost, TrialFiles
from tuner.study.home import StudyFolder
from tuner.study.ledger import Entry
from tuner.study.workbench import Workbench

Array = NDArray[Any]
MISSED = 4
METRICS = ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "aupro")


def audited(
    bench: Workbench,
    audit: Mapping[str, Any],
    eye: Eye,
    *,
    threshold: float,
    trials: Sequence[TrialRow],
    winner: Entry,
    folder: StudyFolder,
    default: Entry | None,
    labels: Truth | None,
) -> Audited:
    """`labels` are those of the batch; None where the data have lost them since the audit."""
    from tuner.evaluation.misses import find_misses

    counts = audit["counts"]
    mean = audit["trials"]["mean_image_auroc"]
    average = "not defined, there is one kind of image only" if mean is None else f"{mean:.4g}"
    notes = [
        f"{counts['anomalous']} of {counts['images']} unlabelled images are anomalous. Mean image "
        f"AUROC of all trials: {average}."
    ]
    if counts.get("masks_missing"):
        notes.append(f"{counts['masks_missing']} masks are missing; pixel figures leave them out.")
    leading = bench.objectives[0]
    trusted = "rises" if leading.direction == "maximize" else "falls"
    known = [
        (float(t.value), t.auroc, t.number)
        for t in trials
        if t.value is not None and t.auroc is not None
    ]
    charts = []
    if known:
        charts.append(
            scatter(
                "The criterion against the truth",
                "truth",
                known,
                axes_names=(leading.name, "image_auroc"),
                winner=winner.number,
                text=f"A trial a dot: a criterion that can be trusted {trusted} to the right.",
            )
        )
    misses: list[Suspect] = []
    confusions: list[Confusion] = []
    flagged, flagged_by_default = eye.scores > threshold, None
    truth, kinds = np.zeros(0, bool), np.empty(0, object)
    if labels is not None:
        truth, kinds = np.asarray(labels.anomalous, bool), np.array(labels.defects, object)
        confusions.append(confusion("winner", truth, flagged))
        if default is not None:
            flagged_by_default = _flagged(bench, default, folder)
        if flagged_by_default is not None:
            confusions.append(confusion("defaults", truth, flagged_by_default))
        found = find_misses(labels, eye.scores, threshold, MISSED)
        if found.curve is not None:
            names = ("false positive rate", "true positive rate")
            charts.append(
                curve(
                    "ROC of the winner",
                    "roc",
                    {"winner": found.curve},
                    names,
                    "Share of anomalous images found against share of false alarms.",
                )
            )
        wrong = [*found.overlooked, *found.false_alarms]
        said = [f"overlooked: {words(found.defects[i]) or 'anomalous'}" for i in found.overlooked]
        misses = eye.suspects(
            np.array(wrong, dtype=np.int64),
            [*said, *["false alarm"] * len(found.false_alarms)],
            labels.masks,
        )
    return Audited(
        metrics=METRICS,
        contenders={
            name: [audit[name].get(metric) for metric in METRICS]
            for name in ("winner", "single", "default", "control", "best")
            if name in audit
        },
        defects=[
            DefectRow(
                name,
                int(found["images"]),
                _count(flagged, kinds == name),
                _count(flagged_by_default, kinds == name),
                found["image_auroc"],
                found.get("default"),
                found.get("best"),
            )
            for name, found in audit["defects"].items()
        ],
        notes=notes,
        charts=charts,
        misses=misses,
        confusions=confusions,
        truth=truth.tolist(),
    )


def opened(bench: Workbench) -> Truth | None:
    """The labels of a batch that an audit has opened before. Raises DataError where images of the
    study are gone."""
    from tuner.evaluation.audit import open_labels

    prepared = bench.prepared
    hashes = [prepared.test_hashes[i] for i in bench.parts.test_order]
    return open_labels(
        prepared.location, bench.config.category, prepared.size, hashes, prepared.path.parent
    )


def confusion(contender: str, anomalous: Array, flagged: Array) -> Confusion:
    """What a threshold that gives `flagged` bool `[M]` does to labels bool `[M]`."""
    return Confusion(
        contender,
        caught=int((anomalous & flagged).sum()),
        missed=int((anomalous & ~flagged).sum()),
        false_alarms=int((~anomalous & flagged).sum()),
        passed=int((~anomalous & ~flagged).sum()),
    )


def _flagged(bench: Workbench, default: Entry, folder: StudyFolder) -> Array | None:
    """What the defaults flag under their own scoring, at a threshold set as the winner's was; None
    where their scores are lost."""
    try:
        kept = TrialFiles(folder.trial(default.number)).scores()
    except FilesLost:
        return None
    setting = bench.space(default.method).default_setting
    found = threshold_of(
        kept["held_out"][setting], bench.config.false_positive_rate, bench.config.threshold
    )
    return np.asarray(kept["test"][setting] > found.value)


def _count(flagged: Array | None, of: Array) -> int | None:
    return int(flagged[of].sum()) if flagged is not None and len(of) else None
