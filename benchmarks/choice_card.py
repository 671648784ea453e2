"""Whether the reliability card is right: its verdicts beside what the picks are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from choice_judge import Study, best_of_each, ways
from choice_tasks import is_design

from tuner.study import reliability

GOOD, NEAR = 0.8, 0.05
CRITERION = "agreed_score_variance"


def card(judged: Sequence[Study]) -> dict[str, Any]:
    """Of design tasks and of the others: how many studies are trusted, the share of these whose
    pick has an image AUROC of `GOOD` or more and lies within `NEAR` of the best single trial and
    setting, their lowest AUROC, and the share of all others that a doubt is right about."""
    found = {}
    for part in ("design", "held-out"):
        own = [study for study in judged if is_design(study.task) == (part == "design")]
        rows = [_row(study) for study in own]
        trusted = [row for row in rows if row["verdict"] == reliability.TRUST]
        doubted = [row for row in rows if row["verdict"] != reliability.TRUST]
        if rows:
            found[part] = {
                "studies": len(rows),
                "trusted": len(trusted),
                "right to trust": _share([row["good"] for row in trusted]),
                "lowest AUROC trusted": min((row["auroc"] for row in trusted), default=None),
                "good but doubted": _share([row["good"] for row in doubted]),
                "doubted": {row["task"]: row["why"] for row in doubted},
            }
    return found


def _row(study: Study) -> dict[str, Any]:
    picked = ways(study)[f"best of each scale by {CRITERION}"]
    agreements = study.criteria["reference_agreement"]
    agreed = [float(agreements[place]) for place in best_of_each(study, CRITERION)]
    figures = {
        "reference": "patch-memory",
        "reference_agreement": float(np.mean(agreed)),
        "shift": {},
        **reliability.bulk(picked.test.numpy(), picked.held_out.numpy()),
    }
    said = reliability.judged(figures)
    worth = study.worth(picked.test)
    return {
        "task": f"{study.task} seed {study.seed}",
        "verdict": said[0][0] if said else reliability.TRUST,
        "why": "; ".join(text for _, text in said)[:80],
        "auroc": round(worth, 4),
        "good": worth >= GOOD and study.auroc.max() - worth <= NEAR,
    }


def _share(values: Sequence[bool]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None
