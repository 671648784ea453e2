"""What a finished study has to tell, gathered from its ledger, its files and its data."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from methods.contract import unit
from methods.criteria.registry import get_criterion
from methods.hyperparameter import by_name
from methods.registry import get_method
from tuner.gallery import corrupted_by, stages
from tuner.report.page import (
    Audited,
    Chart,
    CriterionRow,
    Figure,
    HyperparameterRow,
    Picture,
    Story,
    Suspect,
    TrialRow,
)
from tuner.report.page.charts import (
    by_rung,
    by_trial,
    curve,
    importances,
    scatter,
    trajectories,
)
from tuner.report.page.thumbnails import heat_scale, heat_thumbnails, thumbnails
from tuner.study.files import TrialFiles
from tuner.study.home import StudyFolder
from tuner.study.importance import importances as importances_of
from tuner.study.ledger import Entry
from tuner.study.space import same
from tuner.study.workbench import Workbench, restore

Array = NDArray[Any]

MOST, LEAST, MISSED, IN_GALLERY = 12, 4, 4, 6
METRICS = ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "aupro")
# Comparable between methods, which raw variances are not.
_SECOND = "score_variance_standardised"
_RELIABILITY = "reliability not assessed"


def tell(bench: Workbench, entries: Sequence[Entry], folder: StudyFolder) -> Story:
    """The story of a study that has a winner. Labels are looked at only where an audit has opened
    them before."""
    summary = json.loads(folder.summary.read_text())
    package = json.loads((folder.package / "package.json").read_text())
    winner = next(e for e in entries if e.number == summary["winner"]["trial"])
    leading = bench.objectives[0]
    audit = json.loads(folder.audit.read_text()) if folder.audit.is_file() else None
    aurocs = {} if audit is None else audit.get("trials", {}).get("image_auroc", {})
    trials = [_trial_row(e, leading.name, aurocs.get(str(e.number))) for e in entries]
    scores = _scores(folder, winner)
    held_out = [float(score) for score in package["held_out_scores"]]
    threshold, rate = float(package["threshold"]), float(package["false_positive_rate"])
    eye = _Eye(bench, winner, folder, scores)
    above = int((scores > threshold).sum())
    card = summary.get("reliability") or {}
    default = _default_of(entries, winner.method)
    return Story(
        study=summary["study"],
        category=summary["category"],
        demo=bool(summary["data"]["demo"]),
        verdict=_verdict(winner, default, leading.name, above, len(scores)),
        facts=_facts(summary, package, above, len(scores)),
        reliability=str(card.get("verdict", _RELIABILITY)),
        reasons=[str(reason) for reason in card.get("reasons", ())],
        criterion=leading.name,
        hyperparameters=_hyperparameters(bench, winner),
        criteria=_criteria(entries, winner, default),
        trials=trials,
        charts=_charts(bench, entries, trials, winner),
        gallery=_corruptions(bench, winner, default),
        most=eye.suspects(eye.order[:MOST]),
        least=eye.suspects(eye.order[::-1][:LEAST]),
        threshold=threshold,
        false_positive_rate=rate,
        test_scores=[float(score) for score in scores],
        held_out_scores=held_out,
        audit=None
        if audit is None
        else _audited(bench, audit, eye, threshold=threshold, trials=trials, winner=winner),
        made=f"Made on {time.strftime('%d %B %Y, %H:%M')} from the ledger of the study.",
    )


class _Eye:
    """The winner's view of single test images; all its heat maps share one scale."""

    def __init__(self, bench: Workbench, winner: Entry, folder: StudyFolder, scores: Array) -> None:
        self.bench, self.scores = bench, scores
        self.order = np.argsort(-scores, kind="stable")
        self._detector: Any = restore(bench, winner, folder)
        self._scoring = winner.last["scoring"]
        self._scale = (0.0, 1.0)
        if hasattr(self._detector, "maps"):
            ends = np.concatenate((self.order[:MOST], self.order[::-1][:LEAST]))
            self._scale = heat_scale(self._maps(self._images(ends)))

    def suspects(self, indices: Array, notes: Sequence[str] = ()) -> list[Suspect]:
        """In the order given."""
        if not len(indices):
            return []
        images = self._images(indices)
        ranks = {int(index): rank for rank, index in enumerate(self.order, 1)}
        names = [f"unlabelled image with the {_ordinal(ranks[int(i)])} score" for i in indices]
        rows = {"image": thumbnails(images, names)}
        if hasattr(self._detector, "reconstruct"):
            made = self._detector.reconstruct(images)
            rows["reconstruction"] = thumbnails(made, [f"reconstruction of the {n}" for n in names])
        if hasattr(self._detector, "maps"):
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


def _scores(folder: StudyFolder, entry: Entry) -> Array:
    kept = TrialFiles(folder.trial(entry.number)).scores()
    return np.asarray(kept["test"][int(kept["setting"])], dtype=np.float64)


def _default_of(entries: Sequence[Entry], method: str) -> Entry | None:
    found = (e for e in entries if e.kind == "default" and e.method == method and e.records)
    return next(found, None)


def _verdict(winner: Entry, default: Entry | None, criterion: str, above: int, images: int) -> str:
    named, value = criterion.replace("_", " "), winner.last["criteria"].get(criterion)
    text = f"Trial {winner.number} ({winner.method}) was chosen without labels"
    text += "" if value is None else f", with {named} {value:.4g}"
    reference = None if default is None else default.last["criteria"].get(criterion)
    if default is not None and default.number != winner.number and reference is not None:
        text += f"; the defaults have {reference:.4g}"
    return f"{text}. It calls {above} of the {images} unlabelled images anomalous."


def _facts(
    summary: Mapping[str, Any], package: Mapping[str, Any], above: int, images: int
) -> list[Figure]:
    trials, model = summary["trials"], summary["model"]
    held_out = len(package["held_out_scores"])
    return [
        Figure("model", f"{model['name']} version {model['version']}", model["uri"]),
        Figure(
            "threshold",
            f"{package['threshold']:.4g}",
            f"for {100 * package['false_positive_rate']:.3g} % false alarms, set on {held_out} "
            "held-out normal images",
        ),
        Figure("above it", f"{above} of {images}", "unlabelled images"),
        Figure(
            "trials",
            str(sum(trials.values())),
            f"{trials['finished']} finished, {trials['stopped_early']} stopped early, "
            f"{trials['failed']} failed",
        ),
        Figure("search", _duration(summary["search_seconds"]), f"{summary['parallel']} at once"),
        Figure("image size", "{1} x {0} px".format(*package["size"])),
        Figure("data", summary["data"]["source"], f"fingerprint {package['fingerprint'][:12]}"),
    ]


def _hyperparameters(bench: Workbench, winner: Entry) -> list[HyperparameterRow]:
    space = bench.space(winner.method)
    values = {**space.complete(winner.point), **winner.last["scoring"]}
    defaults = {**space.complete(space.defaults), **space.grid[space.default_setting]}
    learned = dict(winner.last.get("tuned", {}))
    rows = []
    for name, declared in by_name(get_method(winner.method).hyperparameters).items():
        if name not in values:
            continue
        value, default = values[name], defaults.get(name, declared.default)
        rows.append(
            HyperparameterRow(
                name,
                declared.symbol,
                declared.help,
                declared.unit,
                _shown(value),
                _shown(default),
                declared.source,
                not same(value, default),
            )
        )
    rows += [
        HyperparameterRow(
            name,
            "",
            "learned by gradient while the trial trained",
            "",
            _shown(value),
            "–",
            "this study",
            changed=True,
            learned=True,
        )
        for name, value in learned.items()
    ]
    return rows


def _criteria(entries: Sequence[Entry], winner: Entry, default: Entry | None) -> list[CriterionRow]:
    rows = []
    for name in winner.last["criteria"]:
        criterion = get_criterion(name)
        drawn = [
            value
            for e in entries
            if e.kind == "random" and e.method == winner.method and e.records
            if (value := e.last["criteria"].get(name)) is not None
        ]
        best = max if criterion.direction == "maximize" else min
        rows.append(
            CriterionRow(
                name,
                criterion.title,
                criterion.direction,
                criterion.source,
                winner.last["criteria"][name],
                None if default is None else default.last["criteria"].get(name),
                best(drawn) if drawn else None,
            )
        )
    return rows


def _trial_row(entry: Entry, criterion: str, auroc: float | None) -> TrialRow:
    return TrialRow(
        number=entry.number,
        kind=entry.kind,
        method=entry.method,
        state=entry.state,
        rung=entry.rung,
        value=entry.last.get("criteria", {}).get(criterion),
        rungs=[record["criteria"].get(criterion) for record in entry.records],
        seconds=entry.last.get("seconds"),
        warnings=entry.warnings,
        reason=entry.reason,
        auroc=auroc,
    )


def _charts(
    bench: Workbench, entries: Sequence[Entry], trials: Sequence[TrialRow], winner: Entry
) -> list[Chart]:
    leading = bench.objectives[0]
    charts = [
        by_trial(trials, leading.name, leading.direction, winner.number),
        by_rung(trials, leading.name, winner.number),
    ]
    shares = importances_of(entries, bench.space(winner.method), leading.name)
    charts += [importances(shares)] if shares else []
    charts += _front(bench, entries, winner)
    best = [e for e in entries if len(e.last.get("tuned", {})) and e.state == "finished"]
    for entry in best[:2]:
        steps, learned = _trajectory(entry)
        if len(steps) > 1:
            title = f"What trial {entry.number} learned"
            charts.append(trajectories(title, f"learned-{entry.number}", steps, learned))
    return charts


def _front(bench: Workbench, entries: Sequence[Entry], winner: Entry) -> list[Chart]:
    """Two criteria against each other: both objectives, or the leading one and the next."""
    names = [objective.name for objective in bench.objectives]
    names += [n for n in (_SECOND, *winner.last["criteria"]) if n not in names]
    if len(names) < 2:
        return []
    one, other = names[:2]
    points = [
        (float(c[one]), float(c[other]), e.number)
        for e in entries
        if (c := e.last.get("criteria", {})) and None not in (c.get(one), c.get(other))
    ]
    text = f"A trial a dot, at its last rung: {one} across, {other} up.".replace("_", " ")
    return [
        scatter(
            "Two criteria",
            "front",
            points,
            axes_names=(one, other),
            winner=winner.number,
            text=text,
        )
    ]


def _trajectory(entry: Entry) -> tuple[list[int], dict[str, list[float]]]:
    """Steps, and what each learned parameter was at them."""
    steps: list[int] = []
    learned: dict[str, list[float]] = {}
    for record in entry.records:
        for step, values in record.get("trajectory", ()):
            steps.append(int(step))
            for name, value in values.items():
                learned.setdefault(name, []).append(float(value))
    whole = {name: values for name, values in learned.items() if len(values) == len(steps)}
    # An angle may have gone round: half a turn is the same patch.
    turned = {
        name: np.unwrap(values, period=np.pi).tolist() if name.endswith("angle") else values
        for name, values in whole.items()
    }
    return steps, turned


def _corruptions(
    bench: Workbench, winner: Entry, default: Entry | None
) -> dict[str, list[Picture]]:
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


def _audited(
    bench: Workbench,
    audit: Mapping[str, Any],
    eye: _Eye,
    *,
    threshold: float,
    trials: Sequence[TrialRow],
    winner: Entry,
) -> Audited:
    from tuner.evaluation.audit import open_labels
    from tuner.evaluation.misses import find_misses

    counts, prepared = audit["counts"], bench.prepared
    notes = [
        f"{counts['anomalous']} of {counts['images']} unlabelled images are anomalous. Mean image "
        f"AUROC of all trials: {audit['trials']['mean_image_auroc']:.4g}."
    ]
    if counts.get("masks_missing"):
        notes.append(f"{counts['masks_missing']} masks are missing; pixel figures leave them out.")
    leading = bench.objectives[0].name
    known = [
        (float(t.value), t.auroc, t.number)
        for t in trials
        if t.value is not None and t.auroc is not None
    ]
    charts = [
        scatter(
            "The criterion against the truth",
            "truth",
            known,
            axes_names=(leading, "image_auroc"),
            winner=winner.number,
            text="A trial a dot: a criterion that can be trusted rises to the right.",
        )
    ]
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
            for name in ("winner", "default", "best")
            if name in audit
        },
        defects={
            name: (int(d["images"]), d["image_auroc"]) for name, d in audit["defects"].items()
        },
        notes=notes,
        charts=charts,
        misses=misses,
    )


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _ordinal(number: int) -> str:
    last = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{last} highest"
