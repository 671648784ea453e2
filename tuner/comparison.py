"""The winners of several studies side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuner.study.config import read_config
from tuner.study.home import Home
from tuner.study.jsonfile import read_json


def compare(names: Sequence[str], home: Home) -> dict[str, Any]:
    """What each study's winner is, and where the studies differ.

    `studies` holds a column a study, `rows` the lines of the comparison in groups (name, and a
    value a study; hyperparameters only where they differ), `cautions` why figures may not be
    compared. Raises ValueError for fewer than two studies, an unknown one, or one that has not
    ended.
    """
    if len(set(names)) < 2:
        raise ValueError(f"name two studies or more to compare, got {len(set(names))}")
    found = [_summary(name, home) for name in names]
    configs = [read_config(name, home) for name in names]
    winners = [each["winner"] for each in found]
    groups = {
        "study": {
            "category": [each["category"] for each in found],
            "data": [each["data"]["source"] for each in found],
            "criterion": [config.criterion for config in configs],
            "trials": [sum(each["trials"].values()) for each in found],
            "minutes": [round(each["seconds"] / 60, 1) for each in found],
            "winner": [_named(w) for w in winners],
            "method": [w["method"] for w in winners],
            "model": [f"{e['model']['name']} version {e['model']['version']}" for e in found],
        },
        "criteria": _aligned([w["criteria"] for w in winners]),
        "hyperparameters that differ": {
            name: values
            for name, values in _aligned([w["hyperparameters"] for w in winners]).items()
            if any(value != values[0] for value in values)
        },
        "audit of the winner": _aligned(
            [(each["audit"] or {}).get("winner", {}) for each in found]
        ),
    }
    return {
        "studies": list(names),
        "rows": {title: rows for title, rows in groups.items() if rows},
        "cautions": _cautions(found, [config.criterion for config in configs]),
    }


def _named(winner: Mapping[str, Any]) -> str:
    members = winner.get("members")
    if not members:
        return f"trial {winner['trial']}"
    return "trials " + ", ".join(str(member["trial"]) for member in members)


def _summary(name: str, home: Home) -> dict[str, Any]:
    read_config(name, home)
    file = home.study(name).summary
    if not file.is_file():
        raise ValueError(f"{name} has not ended; end it first by: tuner resume {name}")
    summary: dict[str, Any] = read_json(file, f"it is written again by: tuner resume {name}")
    return summary


def _aligned(columns: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Every name with its value in each column, None where a column lacks it."""
    names = dict.fromkeys(name for column in columns for name in column)
    return {name: [column.get(name) for column in columns] for name in names}


def _cautions(found: Sequence[Mapping[str, Any]], criteria: Sequence[str]) -> list[str]:
    said = []
    if len({each["data"]["fingerprint"] for each in found}) > 1:
        said.append("the studies saw different images: their criteria do not compare")
    elif len(set(criteria)) > 1:
        said.append("the winners were chosen by different criteria")
    return said
