"""How far a study is, from its ledger alone."""

from __future__ import annotations

from typing import Any

from filelock import FileLock, Timeout

from tuner.study.budget import Budget, Spent
from tuner.study.config import ledger_url, read_config
from tuner.study.groups import describe
from tuner.study.home import Home, private
from tuner.study.lease import driver_of
from tuner.study.ledger import Ledger
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
    budget = Budget.parse(config.budget)
    seconds = float(ledger.notes().get("seconds", 0.0))
    device = sum(entry.device_seconds for entry in entries)
    spent = Spent(len(entries), seconds, device)
    running = [entry.number for entry in entries if entry.state == "running"]
    driven = _driven(home, name) or driver_of(url, name) is not None
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
        "spent": round(budget.spent_by(spent) / budget.amount, 4),
        "seconds": round(seconds, 1),
        "device_seconds": round(device, 1),
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
