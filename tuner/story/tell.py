"""The whole story of a study."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tuner.packaging import sight_of
from tuner.registry.package import Package, read_package
from tuner.report.page import Figure, Story
from tuner.story.audited import audited
from tuner.story.charts import charts_of
from tuner.story.images import Eye, corruptions
from tuner.story.rows import criterion_rows, default_of, hyperparameter_rows, trial_row
from tuner.study.home import StudyFolder
from tuner.study.jsonfile import read_json
from tuner.study.ledger import Entry
from tuner.study.selection import Winner
from tuner.study.workbench import Workbench

MOST, LEAST = 12, 4
_RELIABILITY = "reliability not assessed"


def tell(bench: Workbench, entries: Sequence[Entry], folder: StudyFolder) -> Story:
    """The story of a study that has a winner. Labels are looked at only where an audit has opened
    them before."""
    name = bench.config.name
    summary = read_json(folder.summary, f"it is written again by: tuner resume {name}")
    package = read_package(folder.package)
    chosen = Winner.kept(entries, named(summary))
    winner = chosen.lead
    leading = bench.objectives[0]
    audit = None
    if folder.audit.is_file():
        audit = read_json(folder.audit, f"it is written again by: tuner audit {name}")
    aurocs = {} if audit is None else audit.get("trials", {}).get("image_auroc", {})
    trials = [trial_row(e, leading.name, aurocs.get(str(e.number))) for e in entries]
    sight, threshold = sight_of(bench, chosen, folder), package.threshold
    scores, eye = sight.scores, Eye(bench, sight)
    above = int((scores > threshold).sum())
    card = summary.get("reliability") or {}
    default = default_of(entries, winner.method)
    return Story(
        study=summary["study"],
        category=summary["category"],
        demo=bool(summary["data"]["demo"]),
        verdict=verdict(chosen, default, leading.name, above, len(scores)),
        facts=facts(summary, package, above, len(scores)),
        reliability=str(card.get("verdict", _RELIABILITY)),
        reasons=[str(reason) for reason in card.get("reasons", ())],
        criterion=leading.name,
        hyperparameters=hyperparameter_rows(bench, winner),
        criteria=criterion_rows(entries, winner, default),
        trials=trials,
        charts=charts_of(bench, entries, trials, winner),
        gallery=corruptions(bench, winner, default),
        most=eye.suspects(eye.order[:MOST]),
        least=eye.suspects(eye.order[::-1][:LEAST]),
        threshold=threshold,
        false_positive_rate=package.false_positive_rate,
        test_scores=[float(score) for score in scores],
        held_out_scores=package.held_out_scores,
        audit=None
        if audit is None
        else audited(bench, audit, eye, threshold=threshold, trials=trials, winner=winner),
        made=f"Made on {time.strftime('%d %B %Y, %H:%M')} from the ledger of the study.",
    )


def named(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The trial of a summary's winner, and the members where it is an ensemble."""
    winner = summary["winner"]
    return {"trial": winner["trial"], "members": [m["trial"] for m in winner.get("members", ())]}


def verdict(chosen: Winner, default: Entry | None, criterion: str, above: int, images: int) -> str:
    winner = chosen.lead
    title, value = criterion.replace("_", " "), winner.last["criteria"].get(criterion)
    text = f"Trial {winner.number} ({winner.method}) was chosen without labels"
    if chosen.members:
        numbers = ", ".join(map(str, chosen.numbers))
        text = f"An ensemble of trials {numbers} was chosen without labels; trial {winner.number} "
        text += f"({winner.method}) leads it"
    text += "" if value is None else f", with {title} {value:.4g}"
    reference = None if default is None else default.last["criteria"].get(criterion)
    if default is not None and default.number != winner.number and reference is not None:
        text += f"; the defaults have {reference:.4g}"
    return f"{text}. It calls {above} of the {images} unlabelled images anomalous."


def facts(summary: Mapping[str, Any], package: Package, above: int, images: int) -> list[Figure]:
    trials, model = summary["trials"], summary["model"]
    held_out = len(package.held_out_scores)
    return [
        Figure(
            "model", f"{model['name']} version {model['version']}", _made(package, model["uri"])
        ),
        Figure(
            "threshold",
            f"{package.threshold:.4g}",
            f"for {100 * package.false_positive_rate:.3g} % false alarms, set on {held_out} "
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
        Figure("image size", "{1} x {0} px".format(*package.size)),
        Figure("data", summary["data"]["source"], f"fingerprint {package.fingerprint[:12]}"),
    ]


def _made(package: Package, uri: str) -> str:
    return f"{uri}, an ensemble of {len(package.members)}" if package.members else str(uri)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
