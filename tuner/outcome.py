"""What is made of a winner: package, pictures, registered version, audit, summary."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from methods.contract import stream_seed, unit
from methods.registry import get_method
from tuner.study.files import TrialFiles
from tuner.study.home import StudyFolder
from tuner.study.jsonfile import write_json
from tuner.study.ledger import Entry, Ledger
from tuner.study.recorder import Recorder
from tuner.study.selection import rank
from tuner.study.workbench import Workbench, restore

if TYPE_CHECKING:
    from tuner.job import Job
    from tuner.registry import Threshold

PICTURES_STREAM = 0x71
SHOWN = 8


def conclude(job: Job, ledger: Ledger, winner: Entry, recorder: Recorder) -> dict[str, Any]:
    """Package, picture and register the winner, audit the study where labels exist, sum up.

    Every step may be repeated: a resumed study concludes again and registers nothing twice.
    """
    from tuner.evaluation.study import audit_study
    from tuner.registry import register_winner

    folder, bench, config = job.folder, job.workbench, job.config
    tracker, parent = recorder.tracker, recorder.parent
    job.voice.say("packaging the winner")
    threshold = package(bench, winner, folder.package, folder)
    if threshold.caution():
        job.voice.warn(threshold.caution())
    pictures(bench, winner, folder, threshold.value)
    run = recorder.run_of(winner.number)
    tracker.flush(force=True)
    registered = ledger.notes().get("registered")
    if registered is None or registered["trial"] != winner.number:
        version = register_winner(
            tracker,
            run,
            folder.package,
            config.category,
            {"tuner.study": config.name, "tuner.trial": str(winner.number)},
        )
        registered = {
            "name": version.name,
            "version": version.version,
            "alias": version.alias,
            "uri": version.uri,
            "trial": winner.number,
        }
        ledger.note(registered=registered)
        tracker.log_artifacts(run, folder.pictures, "pictures")
        for entry in rank(ledger.entries(), bench.objectives[0])[: config.keep]:
            kept = folder.path / "best" / f"{entry.number:04d}"
            package(bench, entry, kept, folder)
            tracker.log_artifacts(recorder.run_of(entry.number), kept, "detector")
    tidy(ledger, folder)
    entries = ledger.entries()
    audit = audit_study(bench, ledger, folder, winner.number)
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
            "method": winner.method,
            "hyperparameters": {
                **bench.space(winner.method).complete(winner.point),
                **winner.last["scoring"],
            },
            "criteria": winner.last["criteria"],
        },
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
        "tracking": tracker.uri,
        "tracking_pending": tracker.pending,
    }
    tracker.finish_study(parent, _final_metrics(summary), {"tuner.winner": str(winner.number)})
    write_json(folder.summary, summary)
    tracker.log_artifacts(parent, folder.pictures, "pictures")
    summary["tracking_pending"] = tracker.close()
    return summary


def counts(entries: Sequence[Entry]) -> dict[str, int]:
    """How the trials of a study ended."""
    states = Counter(entry.state for entry in entries)
    return {name: states[name] for name in ("finished", "stopped_early", "failed")}


def package(bench: Workbench, entry: Entry, target: Path, folder: StudyFolder) -> Threshold:
    """Write a trial's detector as a packaged model into `target`; returns its threshold."""
    from tuner.job import versions
    from tuner.registry import quantile_threshold, save_package

    files = TrialFiles(folder.trial(entry.number))
    scores = files.scores()
    held_out = scores["held_out"][int(scores["setting"])]
    threshold = quantile_threshold(held_out, bench.config.false_positive_rate)
    save_package(
        target,
        method=entry.method,
        hyperparameters=bench.space(entry.method).complete(entry.point),
        scoring=entry.last["scoring"],
        weights=files.weights(),
        size=bench.data.size,
        threshold=threshold.value,
        false_positive_rate=bench.config.false_positive_rate,
        held_out_scores=held_out,
        category=bench.config.category,
        study=bench.config.name,
        fingerprint=bench.prepared.fingerprint,
        versions=versions(),
        ceiling=bench.prepared.ceiling,
    )
    return threshold


def pictures(bench: Workbench, winner: Entry, folder: StudyFolder, threshold: float) -> None:
    """Draw what the winner's corruption looked like and what it finds most suspicious."""
    from tuner.report.pictures import corruption_sheet, suspicious_sheet

    folder.pictures.mkdir(parents=True, exist_ok=True)
    caption = "demo data" if bench.prepared.demo else ""
    method = get_method(winner.method)
    hyperparameters = bench.space(winner.method).complete(winner.point)
    generator = torch.Generator().manual_seed(stream_seed(bench.config.seed, PICTURES_STREAM))
    normal, corrupted = method.corrupt(bench.data, hyperparameters, SHOWN, generator)
    corruption_sheet(normal, corrupted, folder.pictures / "corruption.png", caption=caption)
    detector: Any = restore(bench, winner, folder)
    if not hasattr(detector, "maps"):
        return
    scores = TrialFiles(folder.trial(winner.number)).scores()
    own = scores["test"][int(scores["setting"])]
    worst = np.argsort(-own, kind="stable")[:SHOWN]
    images = unit(bench.data.test[torch.from_numpy(worst.copy())])
    suspicious_sheet(
        images,
        detector.reconstruct(images),
        detector.maps(images, winner.last["scoring"]),
        own[worst],
        threshold,
        folder.pictures / "suspicious.png",
        caption=caption,
    )


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
