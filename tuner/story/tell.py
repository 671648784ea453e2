"""The whole story of a study."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from tuner.evaluation.audit import Truth
from tuner.packaging import pasted_scores, sight_of
from tuner.registry.package import Package, read_package
from tuner.report.page import Audited, Figure, Story, Suspect
from tuner.story.audited import audited, opened
from tuner.story.charts import charts_of
from tuner.story.images import Eye, corruptions, files_of
from tuner.story.rows import criterion_rows, default_of, hyperparameter_rows, trial_row
from tuner.study.home import StudyFolder
from tuner.study.jsonfile import read_json
from tuner.study.ledger import Entry
from tuner.study.selection import Winner
from tuner.study.workbench import Workbench

MOST, FEWEST, LEAST = 18, 6, 3
_TONES = {"trust": "good", "doubtful": "doubt", "no better than random": "bad"}
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
    scores = sight.scores
    # Names of files may tell labels: they are seen where nothing is chosen any more, and folders
    # only where they hold no label, or the audit has opened it.
    unsealed = audit is not None or bench.prepared.layout in ("plain", "demo")
    eye = Eye(bench, sight, threshold, files_of(bench), opened=unsealed)
    above = int((scores > threshold).sum())
    card = summary.get("reliability") or {}
    default = default_of(entries, winner.method)
    truth = labels = None
    if audit is not None:
        truth = opened(bench)
        labels = audited(
            bench,
            audit,
            eye,
            threshold=threshold,
            trials=trials,
            winner=winner,
            folder=folder,
            default=default,
            labels=truth,
        )
    pasted = {kind: found.tolist() for kind, found in pasted_scores(bench, sight).items()}
    shown = min(max(above, FEWEST), MOST)
    return Story(
        study=summary["study"],
        category=summary["category"],
        demo=bool(summary["data"]["demo"]),
        verdict=verdict(chosen, default, leading.name, above, len(scores)),
        facts=facts(summary, package, above, len(scores)),
        reliability=str(card.get("verdict", _RELIABILITY)),
        reasons=findings(card),
        criterion=leading.name,
        hyperparameters=hyperparameter_rows(bench, winner),
        criteria=criterion_rows(entries, winner, default),
        trials=trials,
        charts=charts_of(bench, entries, trials, winner),
        gallery=corruptions(bench, winner, default),
        most=_told(eye, eye.order[:shown], truth),
        least=_told(eye, eye.order[::-1][:LEAST], truth),
        threshold=threshold,
        false_positive_rate=package.false_positive_rate,
        test_scores=[float(score) for score in scores],
        held_out_scores=package.held_out_scores,
        audit=labels,
        made=f"Made on {time.strftime('%d %B %Y, %H:%M')} from the ledger of the study.",
        headline=f"{above} of {len(scores)} unlabelled images are flagged as anomalous.",
        tone=_TONES.get(str(card.get("verdict")), ""),
        expected=expected(package, pasted, labels),
        pasted_scores=pasted,
        names=[
            (eye.name(i) or f"image {rank}", float(scores[i]))
            for rank, i in enumerate(map(int, eye.order[:above]), 1)
            if rank > shown
        ],
        card=figures(card.get("figures", {})),
        commands=commands(summary, audited=labels is not None),
    )


def _told(eye: Eye, indices: NDArray[Any], truth: Truth | None) -> list[Suspect]:
    """Images as the winner sees them, with what labels say where an audit has opened them."""
    if truth is None:
        return eye.suspects(indices)
    said = [f"by label: {truth.defects[int(i)] or 'good'}".replace("_", " ") for i in indices]
    return eye.suspects(indices, said, truth.masks)


def findings(card: Mapping[str, Any]) -> list[str]:
    """What the reliability card found, a sentence each."""
    found = card.get("findings") or card.get("reasons", ())
    return [
        ": ".join(str(v) for v in each.values()) if isinstance(each, Mapping) else str(each)
        for each in found
    ]


def figures(found: Mapping[str, Any]) -> list[Figure]:
    """The numbers behind the card; those that hold several are left to the summary."""
    return [
        Figure(name.replace("_", " "), f"{value:.3g}" if isinstance(value, float) else str(value))
        for name, value in found.items()
        if isinstance(value, int | float | str)
    ]


def expected(
    package: Package,
    pasted: Mapping[str, Sequence[float]],
    labels: Audited | None,
) -> list[str]:
    """What to expect of the threshold: false alarms, and misses by pasted defects or by labels."""
    held_out, rate = package.held_out_scores, package.false_positive_rate
    alarms = sum(score > package.threshold for score in held_out)
    said = [
        f"False alarms: {100 * rate:.3g} % were asked for; {alarms} of {len(held_out)} held-out "
        "normal images are flagged."
    ]
    shares = {
        name: sum(score > package.threshold for score in scores) / len(scores)
        for name, scores in pasted.items()
    }
    if shares:
        kinds = sorted(shares.items(), key=lambda pair: pair[1])
        named = ", ".join(f"{name.replace('_', ' ')} {share:.0%}" for name, share in kinds)
        said.append(
            f"Misses, estimated on defects that were pasted into good images: these shares are "
            f"caught: {named}. Real defects may be harder or easier."
        )
    for found in labels.confusions if labels is not None else ():
        defective, good = found.caught + found.missed, found.false_alarms + found.passed
        said.append(
            f"By the labels ({found.contender}): {found.caught} of {defective} defective images "
            f"are caught and {found.missed} missed; {found.false_alarms} of {good} good ones are "
            "flagged."
        )
    return said


def commands(summary: Mapping[str, Any], *, audited: bool) -> list[tuple[str, str]]:
    """What to do next, as lines for a shell."""
    name, model = summary["study"], shlex.quote(f"{summary['model']['name']}@champion")
    category, study = shlex.quote(summary["category"]), shlex.quote(name)
    said = [
        (f"tuner promote {category}", "make the winner the champion, if the gates let it"),
        (f"tuner predict {model} 'FOLDER/*.png'", "judge new images by the champion"),
        (f"tuner serve {model}", "answer requests over HTTP"),
        (f"tuner ui --study {study}", "all trials in MLflow"),
    ]
    return said if audited else [*said, (f"tuner audit {study}", "measure it, where labels exist")]


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
        Figure("flagged", f"{above} of {images}", "unlabelled images"),
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
