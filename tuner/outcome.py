"""What is made of a winner: package, pictures, registered version, audit, summary."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from methods.criteria.alignment import collapse_threshold
from methods.self_tuning.guards import anomaly_share
from tuner.gallery import pictures, strip
from tuner.packaging import caught, joint_scores, package, package_winner, sight_of
from tuner.reporting import write_report
from tuner.study.arms import compare, control_of, default_of
from tuner.study.consensus import Consensus
from tuner.study.files import TrialFiles
from tuner.study.groups import describe
from tuner.study.home import StudyFolder
from tuner.study.jsonfile import clean, write_json
from tuner.study.judge import finite
from tuner.study.ledger import Entry, Ledger
from tuner.study.pool import Pool, values_at
from tuner.study.recorder import Recorder
from tuner.study.reliability import Study, assess
from tuner.study.replicates import trained_with
from tuner.study.selection import Winner, rank
from tuner.study.shift import shifts
from tuner.study.study_level import study_values
from tuner.study.trial import EMBEDDED_IMAGES
from tuner.study.workbench import Workbench

if TYPE_CHECKING:
    from tuner.job import Job
    from tuner.registry.package import Package


PATIENCE = 180.0
"""Seconds for which the end of a study waits for a tracking store that is away."""

# What a registered winner is known by.
_NAMES = ("trial", "members")


def conclude(job: Job, ledger: Ledger, chosen: Winner, recorder: Recorder) -> dict[str, Any]:
    """Package, picture and register the winner, audit the study where labels exist, sum up.

    Of an ensemble, what is said of single trials (hyperparameters, criteria, control arms, the
    card) is said of the one that leads it. Every step may be repeated: a resumed study concludes
    again and registers nothing twice.
    """
    from tuner.evaluation.study import audit_study
    from tuner.registry import export_onnx
    from tuner.registry.package import STUDY_FILE

    folder, bench, config = job.folder, job.workbench, job.config
    winner, members = chosen.lead, chosen.numbers
    tracker, parent = recorder.tracker, recorder.parent
    warnings = warned(ledger, folder, recorder)
    job.voice.say("packaging the winner")
    threshold = package_winner(bench, chosen, folder)
    config.write(folder.package / STUDY_FILE, shared=True)
    if config.export:
        export = export_onnx(folder.package, bench.parts.test)
        if not export.done:
            (job.voice.warn if export.possible else job.voice.say)(export.reason)
    pictures(bench, chosen, folder, threshold.value)
    sight, space = sight_of(bench, chosen, folder), bench.space(winner.method)
    tracked(job, ledger, recorder)
    run = recorder.run_of(winner.number)
    tracker.flush(force=True)
    pool = bench.pool(ledger.entries(), folder)
    gained = arms(bench, pool, winner, folder, ledger.entries())
    card = assess(
        evidence_of(bench, pool, chosen, ledger, folder, gained=gained, warnings=warnings)
    ).as_dict()
    ledger.note(reliability=card)
    trusted = {
        "tuner.reliability": card["verdict"],
        "tuner.reliability_reasons": "; ".join(card["reasons"]),
    }
    tracker.tag(run, trusted)
    before: Mapping[str, Any] = ledger.notes().get("registered") or {}
    recorder.chosen(
        winner.number, members, [*before.get("members", ()), before.get("trial", winner.number)]
    )
    registered = _registered(job, ledger, chosen, recorder, trusted)
    tidy(ledger, folder)
    entries = ledger.entries()
    audit = audit_study(bench, ledger, folder, winner.number, members)
    if audit is not None:
        recorder.audited(audit)
    summary = {
        "study": config.name,
        "category": config.category,
        "data": {
            "source": bench.prepared.location,
            "layout": bench.prepared.layout,
            "demo": bench.prepared.demo,
            "fingerprint": bench.prepared.fingerprint,
        },
        "trials": counts(entries),
        "winner": {
            "trial": winner.number,
            "members": [{"trial": m.number, "method": m.method} for m in chosen.members],
            "method": winner.method,
            "hyperparameters": {**space.complete(winner.point), **winner.last["scoring"]},
            "defaults": {
                **space.complete(space.defaults),
                **space.grid[space.default_setting],
            },
            "criteria": winner.last["criteria"],
            "selected_by": config.criterion,
            "study_criteria": {
                name: finite(float(values[pool.place(winner.number)]))
                for name, values in study_values(pool, bench.objectives[0]).items()
            },
            "drawn": list(space.drawn),
            "learned": dict(winner.last.get("tuned", {})),
        },
        "threshold": {**asdict(threshold), "caution": threshold.caution()},
        "unlabelled": {
            "images": len(sight.scores),
            "flagged": int((sight.scores > threshold.value).sum()),
        },
        "caught": caught(bench, sight, threshold.value),
        "arms": gained,
        "reliability": card,
        "groups": describe(entries),
        "warnings": warnings,
        "front": ledger.front() if len(bench.objectives) > 1 else None,
        "model": {key: registered[key] for key in ("name", "version", "alias", "uri")},
        "audit": audit,
        "seconds": round(time.monotonic() - job.began, 1),
        "search_seconds": round(float(ledger.notes()["seconds"]), 1),
        "trial_seconds": round(sum(entry.last.get("seconds", 0.0) for entry in entries), 1),
        "train_seconds": round(sum(entry.last.get("train_seconds", 0.0) for entry in entries), 1),
        "device_seconds": round(sum(entry.device_seconds for entry in entries), 1),
        "parallel": job.plan.layout.parallel,
        "folder": str(folder.path),
        "report": str(folder.report),
        "tracking": tracker.place,
        "tracking_pending": tracker.pending,
    }
    tracker.finish_study(
        parent, _final_metrics(summary), {"tuner.winner": str(winner.number), **trusted}
    )
    # What is returned now is what is read again later.
    summary = clean(summary)
    write_json(folder.summary, summary)
    tracker.log_artifacts(parent, folder.pictures, "pictures")
    job.voice.say("writing the report")
    write_report(bench, entries, folder, folder.report)
    tracker.log_artifacts(parent, folder.report.parent, "report")
    summary["tracking_pending"] = tracker.close()
    # Nothing is left to do for so many trials; a bigger budget adds some.
    ledger.note(concluded=len(entries))
    return summary


def _registered(
    job: Job, ledger: Ledger, chosen: Winner, recorder: Recorder, trusted: Mapping[str, str]
) -> dict[str, Any]:
    """The winner's version in the registry, made where there is none yet, with the detectors and
    pictures of the best trials beside it."""
    from tuner.registry import read_package, register_winner
    from tuner.registry.register import backbone_tags

    folder, bench, config, tracker = job.folder, job.workbench, job.config, recorder.tracker
    number, members = chosen.lead.number, chosen.numbers
    named = {"trial": number, **({"members": members} if members else {})}
    known: dict[str, Any] | None = ledger.notes().get("registered")
    if known is not None and all(known.get(key) == named.get(key) for key in _NAMES):
        return known
    made = {"tuner.members": ",".join(map(str, members))} if members else {}
    run = recorder.run_of(number)
    tracker.tag(run, backbone_tags(read_package(folder.package)))
    version = register_winner(
        tracker,
        run,
        folder.package,
        config.category,
        {"tuner.study": config.name, "tuner.trial": str(number), **made, **trusted},
        description=described(job, chosen, read_package(folder.package), trusted),
    )
    registered = {
        "name": version.name,
        "version": version.version,
        "alias": version.alias,
        "uri": version.uri,
        **named,
    }
    ledger.note(registered=registered)
    tracker.log_artifacts(run, folder.pictures, "pictures")
    ranked = rank(ledger.entries(), bench.objectives[0])
    whole = (entry for entry in ranked if not TrialFiles(folder.trial(entry.number)).lost())
    for entry in itertools.islice(whole, config.keep):
        kept = folder.path / "best" / f"{entry.number:04d}"
        package(bench, entry, kept, folder)
        tracker.log_artifacts(recorder.run_of(entry.number), kept, "detector")
        drawn = folder.trial(entry.number) / "pictures"
        if strip(bench, entry, drawn):
            tracker.log_artifacts(recorder.run_of(entry.number), drawn, "pictures")
    return registered


def described(job: Job, chosen: Winner, package: Package, trusted: Mapping[str, str]) -> str:
    """What a registered version is, how it was chosen, and how to use it, as Markdown."""
    config, lead, size = job.config, chosen.lead, package.size
    leading = job.workbench.objectives[0].name
    value = lead.last["criteria"].get(leading)
    figure = value if value is None else f"{leading.replace('_', ' ')} {value:.4g}"
    what = f"`{lead.method}` of trial {lead.number}"
    if chosen.members:
        what = f"an ensemble of trials {', '.join(map(str, chosen.numbers))}, led by {what}"
    lines = [
        f"Winner of study `{config.name}`: {what}, for images of {size[1]} x {size[0]} pixels.",
        f"**Chosen** without labels by `{config.criterion}`"
        + ("." if figure is None else f"; {figure}."),
        f"**Threshold** {package.threshold:.4g}, set for {100 * package.false_positive_rate:.3g} % "
        f"false alarms on {len(package.held_out_scores)} held-out normal images.",
        f"**Reliability** {trusted['tuner.reliability']}: {trusted['tuner.reliability_reasons']}.",
        f"**Data** {job.workbench.prepared.location}"
        + (" (demo data, not a real part)" if job.workbench.prepared.demo else ""),
        f'**Load** `tuner.load("{config.category}@challenger").predict("part.png")`, or '
        f"`tuner predict {config.category}@challenger FOLDER`. The report is among the artifacts "
        "of the study's run.",
    ]
    return "\n\n".join(lines)


def tracked(job: Job, ledger: Ledger, recorder: Recorder) -> None:
    """Bring the tracking store up to what the ledger says; wait for one that is away."""
    tracker, bench = recorder.tracker, job.workbench
    if not tracker.flush(force=True):
        tracker.check()
        job.voice.warn(
            f"results wait to be tracked ({tracker.last_error}); trying again for {PATIENCE:g} s"
        )
        tracker.wait(PATIENCE)
    recorder.settle(
        ledger.entries(),
        lambda entry: {
            **bench.space(entry.method).complete(entry.point),
            "seed": trained_with(job.config.seed, entry),
        },
    )


def arms(
    bench: Workbench,
    pool: Pool,
    winner: Entry,
    folder: StudyFolder,
    entries: Sequence[Entry] = (),
) -> dict[str, Any]:
    """What the search gained over its control arms, by each criterion."""
    default = default_of(pool.entries, winner.method)
    values: dict[str, float | None] = {}
    if default is not None:
        setting = bench.space(winner.method).default_setting
        values = values_at(TrialFiles(folder.trial(default.number)), setting)
    return compare(pool, winner.number, values, control_of(entries))


def evidence_of(
    bench: Workbench,
    pool: Pool,
    chosen: Winner,
    ledger: Ledger,
    folder: StudyFolder,
    *,
    gained: Mapping[str, Any],
    warnings: Sequence[Mapping[str, Any]],
) -> Study:
    """What the reliability card is made from."""
    from tuner.registry import read_package

    winner, members = chosen.lead, chosen.members or (chosen.lead,)
    agreements = ledger.notes().get("consensus", {})
    embedded = min(EMBEDDED_IMAGES, len(bench.parts.train))
    own = torch.from_numpy(pool.scores[pool.place(winner.number)])
    agreed = [member.last["criteria"].get("reference_agreement") for member in members]
    known = [value for value in agreed if value is not None]
    return Study(
        pool=pool,
        winner=winner.number,
        leading=bench.objectives[0],
        consensus=agreements.get(str(winner.number)),
        arms=gained,
        shifts=shifts(bench.parts.train, bench.parts.test),
        warnings=[w["text"] for w in warnings if w["trial"] == winner.number],
        share=anomaly_share(own) if bool((own > 0).all()) else None,
        collapse=collapse_threshold(embedded, embedded, len(bench.parts.test)),
        reference=next((space.method for space in bench.spaces if space.control), ""),
        agreed=sum(known) / len(known) if known else None,
        batch=joint_scores(folder) if chosen.members else own.numpy(),
        held_out=np.array(read_package(folder.package).held_out_scores),
    )


def counts(entries: Sequence[Entry]) -> dict[str, int]:
    """How the trials of a study ended."""
    states = Counter(entry.state for entry in entries)
    return {name: states[name] for name in ("finished", "stopped_early", "failed")}


def warned(ledger: Ledger, folder: StudyFolder, recorder: Recorder) -> list[dict[str, Any]]:
    """What is to be warned of in every trial, now that all have ended: `trial` and `text`.

    A trial's agreement with the others was judged when it ended, by those before it; here it is
    judged by all, and the tags in the tracking store are brought up to date.
    """
    entries = [e for e in ledger.entries() if e.state in ("finished", "stopped_early")]
    consensus = Consensus(folder.trial)
    agreements = consensus.of([entry.number for entry in entries])
    found = []
    for entry in entries:
        own = list(entry.last.get("warnings", ()))
        agreement = agreements.get(entry.number)
        against = None if agreement is None else consensus.warning(agreement, entry.number)
        own += [against] if against else []
        found += [{"trial": entry.number, "text": text} for text in own]
        if tuple(own) != entry.warnings:
            recorder.warn(entry.number, own)
    ledger.note(consensus={str(number): value for number, value in agreements.items()})
    return found


def tidy(ledger: Ledger, folder: StudyFolder) -> None:
    """Drop what only a running trial needs."""
    for entry in ledger.entries():
        if entry.state != "running":
            TrialFiles(folder.trial(entry.number)).forget_checkpoint()


def _final_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    metrics = {f"trials.{name}": float(n) for name, n in summary["trials"].items()}
    metrics |= {
        f"winner.{name}": value
        for name, value in summary["winner"]["criteria"].items()
        if value is not None
    }
    return {**metrics, "seconds": summary["seconds"], "device_seconds": summary["device_seconds"]}
