"""What thresholds without labels do on true normal images: the rate that results for the pick.

    python benchmarks/selection_thresholds.py [--pool FOLDER]

Reads the trials that `benchmarks/selection.py pool` kept. In each study the trial and scoring that
the default criterion picks get both thresholds from their held-out normals; the share of normal
test images above is the rate that results, the share of anomalous ones what it finds. Writes
selection_thresholds.json beside itself.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from selection import POOL
from selection_pool import Study, load

from methods.criteria.registry import get_criterion
from tuner.registry.threshold import Rule, find_threshold
from tuner.study.jsonfile import write_json
from tuner.study.trial import SCORING_CRITERION

RATES = (0.1, 0.05, 0.02)


def shares(study: Study) -> dict[str, tuple[float, float]]:
    """By rate and rule: the shares of normal and of anomalous test images above the threshold."""
    criterion = get_criterion(SCORING_CRITERION)
    values = torch.stack([criterion.evaluate(trial) for trial in study.trials]).numpy()
    values = np.where(np.isfinite(values), values, -np.inf)
    trial, setting = np.unravel_index(values.argmax(), values.shape)
    evidence = study.trials[trial]
    test, held_out = (s[setting].numpy() for s in (evidence.test_scores, evidence.held_out_scores))
    found = {}
    for rate in RATES:
        for rule in get_args(Rule):
            above = test > find_threshold(held_out, rate, rule).value
            normal, anomalous = above[~study.anomalous], above[study.anomalous]
            found[f"{rate} {rule}"] = (float(normal.mean()), float(anomalous.mean()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pool", type=Path, default=POOL, help="folder of the kept trials")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    tasks: dict[str, dict[str, list[tuple[float, float]]]] = {}
    studies, held_out = 0, set()
    for folder in sorted(options.pool.glob("*/seed_*")):
        study = load(folder)
        studies += 1
        held_out.add(study.trials[0].held_out_scores.shape[1])
        for name, pair in shares(study).items():
            tasks.setdefault(name, {}).setdefault(study.task, []).append(pair)
    if not studies:
        raise SystemExit(f"{options.pool} holds no study; run selection.py's pool stage first")
    result: dict[str, Any] = {"studies": studies, "held_out": sorted(held_out)}
    for name, by_task in tasks.items():
        pairs = np.array([pair for own in by_task.values() for pair in own])
        result[name] = {
            "normal_flagged": float(pairs[:, 0].mean()),
            "highest_normal_flagged": float(pairs[:, 0].max()),
            "anomalous_flagged": float(pairs[:, 1].mean()),
            "normal_flagged_by_task": {
                task: float(np.mean(own, axis=0)[0]) for task, own in by_task.items()
            },
        }
    print(json.dumps(result, indent=2))
    write_json(options.out, result)


if __name__ == "__main__":
    main()
