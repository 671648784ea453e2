"""How far a study is, from its ledger alone, and what it found where it has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from filelock import FileLock, Timeout

from tuner.study.budget import Budget, Spent
from tuner.study.config import StudyConfig, ledger_url, read_config
from tuner.study.groups import describe
from tuner.study.home import Home, StudyFolder, private
from tuner.study.jsonfile import read_json
from tuner.study.lease import driver_of
from tuner.study.ledger import Entry, Ledger
from tuner.study.selection import rank
from tuner.study.study_level import leading_criterion


def newest(home: Home) -> str:
    """The study that was begun last. Raises ValueError where there is none."""
    names = home.study_names()
    if not names:
        raise ValueError(f"there is no study under {home.path} yet; begin one by: tuner launch")
    return max(names, key=lambda name: home.study(name).config.stat().st_mtime)


@private()
def study_status(name: str, home: Home) -> dict[str, Any]:
    """State, counts, spent budget, best trial so far and every trial of a study."""
    config = read_config(name, home)
    url = ledger_url(config, home)
    ledger = Ledger.read(url, name)
    entries = ledger.entries()
    budget, spent = Budget.parse(config.budget), _spent(ledger, entries)
    running = sum(entry.state == "running" for entry in entries)
    driven = _driven(home, name) or driver_of(url, name) is not None
    # A trial that is running takes its place in the budget, but is not done.
    done = Spent(len(entries) - running, spent.seconds, spent.device_seconds)
    ended = not running and budget.exhausted(spent)
    registered, waiting = ledger.notes().get("registered"), home.study(name).spool.is_file()
    leading = leading_criterion(config)
    ranked = rank(entries, leading)
    # A store may have been away when all trials were done.
    unfinished = not ended or waiting or (registered is None and bool(ranked))
    return {
        "study": name,
        "category": config.category,
        "data": config.data,
        "state": "running" if driven else "interrupted" if unfinished else "ended",
        "next": f"tuner resume {name}" if unfinished and not driven else None,
        "criterion": leading.name,
        "selected_by": config.criterion,
        "reliability": ledger.notes().get("reliability"),
        "budget": str(budget),
        "spent": round(budget.spent_by(done) / budget.amount, 4),
        "ended": len(entries) - running,
        "running": running,
        "seconds": round(spent.seconds, 1),
        "device_seconds": round(spent.device_seconds, 1),
        "best": ranked[0].number if ranked else None,
        "registered": registered,
        "tracking_waits": waiting,
        "groups": describe(entries),
        "trials": [
            {
                "trial": entry.number,
                "kind": entry.kind,
                "origin": entry.origin,
                "source": entry.source,
                "group": entry.group,
                "method": entry.method,
                "state": entry.state,
                "rung": entry.rung,
                "criterion": entry.last.get("criteria", {}).get(leading.name),
                "warnings": list(entry.warnings),
                "learned": entry.last.get("tuned", {}),
                "reason": entry.reason,
            }
            for entry in entries
        ],
    }


@private()
def concluded(config: StudyConfig, home: Home, uri: str) -> dict[str, Any] | None:
    """The summary of a study that has ended; None where anything is left to do, or to be made again
    because a file of it is lost.

    `uri` is the registry: what the winner is called there may have changed since.
    """
    name, folder = config.name, home.study(config.name)
    ledger = Ledger.read(ledger_url(config, home), name)
    entries, notes = ledger.entries(), ledger.notes()
    open_ = not Budget.parse(config.budget).exhausted(_spent(ledger, entries))
    if open_ or notes.get("concluded") != len(entries):
        return None
    if any(entry.state == "running" for entry in entries):
        return None
    if folder.spool.is_file() or _driven(home, name):
        return None
    try:
        summary: dict[str, Any] = _kept(folder, entries)
        alias = _alias(notes["registered"], uri)
    except (LookupError, OSError, RuntimeError, ValueError):
        return None
    return {**summary, "model": {**summary["model"], "alias": alias}, "tracking_pending": 0}


def _kept(folder: StudyFolder, entries: Sequence[Entry]) -> dict[str, Any]:
    """The summary of a study whose files are all there. Raises OSError, RuntimeError, ValueError or
    KeyError for any that is not."""
    from tuner.packaging import joint_scores
    from tuner.registry import load_package
    from tuner.study.files import TrialFiles

    summary: dict[str, Any] = read_json(folder.summary, "")
    load_package(folder.package, "cpu")
    if summary["winner"]["members"]:
        joint_scores(folder)
    if summary["audit"] is not None:
        read_json(folder.audit, "")
    folder.report.stat()
    for entry in entries:
        judged = entry.state in ("finished", "stopped_early") and entry.records
        if judged and (lost := TrialFiles(folder.trial(entry.number)).lost()):
            raise lost[0]
    return summary


def _alias(registered: Mapping[str, Any], uri: str) -> str:
    """What a registered winner is called now; empty for nothing."""
    from tuner.registry.versions import CHAMPION, speaking_to

    with speaking_to(uri) as client:
        found = client.get_model_version(registered["name"], str(registered["version"]))
    aliases = sorted(found.aliases)
    return CHAMPION if CHAMPION in aliases else aliases[0] if aliases else ""


def _spent(ledger: Ledger, entries: Sequence[Entry]) -> Spent:
    seconds = float(ledger.notes().get("seconds", 0.0))
    return Spent(len(entries), seconds, sum(entry.device_seconds for entry in entries))


def _driven(home: Home, name: str) -> bool:
    if not home.study(name).path.is_dir():
        return False
    try:
        with FileLock(home.study(name).lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        # Where no lock can be written, no driver writes either.
        return False
