"""What labels say afterwards, where an audit has opened them before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tuner.report.page import Audited, Suspect, TrialRow
from tuner.report.page.charts import curve, scatter
from tuner.story.images import Eye
from tuner.study.ledger import Entry
from tuner.study.workbench import Workbench

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
) -> Audited:
    from tuner.evaluation.audit import open_labels
    from tuner.evaluation.misses import find_misses

    counts, prepared = audit["counts"], bench.prepared
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
    hashes = [prepared.test_hashes[i] for i in bench.parts.test_order]
    labels = open_labels(
        prepared.location, bench.config.category, prepared.size, hashes, prepared.path.parent
    )
    misses: list[Suspect] = []
    if labels is not None:
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
        said = [f"overlooked: {found.defects[i] or 'anomalous'}" for i in found.overlooked]
        misses = eye.suspects(
            np.array(wrong, dtype=np.int64), [*said, *["false alarm"] * len(found.false_alarms)]
        )
    return Audited(
        metrics=METRICS,
        contenders={
            name: [audit[name].get(metric) for metric in METRICS]
            for name in ("winner", "single", "default", "control", "best")
            if name in audit
        },
        defects={
            name: (int(d["images"]), d["image_auroc"]) for name, d in audit["defects"].items()
        },
        notes=notes,
        charts=charts,
        misses=misses,
    )
