"""Whether the best points of one category are a head start on another.

    python benchmarks/selection.py pool
    python benchmarks/warm_start.py --pairs brick:tile grass:carpet carpet:grid --seeds 0 1

For each pair of demo surfaces and seed the three best points of the first, as the criterion ranks
its kept trials, are trained on the second with the second's split and synthetic defects. What
random draws do there is read off its kept trials, so that only the warm ones are trained here.

Quoted is the expected number of trials until the criterion reaches what a number of random draws
reaches on average, with the three warm trials first and without them; and the image AUROC of the
best of the three beside the best of three random ones, both as the criterion picks. Results are
kept in warm_start.json beside this file; a run goes on where it was cut off.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cells import Record, finish, run
from selection import POOL
from selection_judge import Array
from selection_pool import Protocol, Training, draw, load, study_folder, train
from selection_stopping import expected_best
from selection_tasks import DEMO, MIXED, surface_names

from methods.criteria.auroc import auroc
from methods.criteria.registry import get_criterion
from methods.hyperparameter import Value

TARGET = Path(__file__).with_suffix(".json")
CRITERIA = ("synthetic_validation", "referenced_synthetic_validation")
WARM = 3
# Trials of a pool have the numbers below.
FIRST_NUMBER = 1000
DRAWS = (5, 10, 20)


def values(folder: Path, criterion: str) -> tuple[Array, Array]:
    """Of each kept trial the criterion `[T]` under its best setting, and its image AUROC `[T]`."""
    study = load(folder)
    bad = torch.from_numpy(study.anomalous)
    own, truth = [], []
    for trial in study.trials:
        found = get_criterion(criterion).evaluate(trial).nan_to_num(-math.inf)
        setting = int(found.argmax())
        scores = trial.test_scores[setting : setting + 1]
        own.append(float(found[setting]))
        truth.append(float(auroc(scores[:, bad], scores[:, ~bad])[0]))
    return np.array(own), np.array(truth)


def points(pool: Path, source: str, seed: int, criterion: str) -> list[dict[str, Value]]:
    """The best of a surface, its defaults left out: every category has them."""
    found, _ = values(study_folder(pool, source, MIXED, seed), criterion)
    best = [int(t) for t in np.argsort(-found, kind="stable") if t > 0][:WARM]
    space = Protocol().space()
    drawn = [draw(space, source, seed, trial) for trial in best]
    return [{name: point[name] for name in space.drawn} for point in drawn]


def first_reached(cold: Array, wanted: float) -> float:
    """Expected place, from 1, of the first of N draws without replacement that reaches a value;
    N + 1 where none does."""
    return (len(cold) + 1) / (int((cold >= wanted).sum()) + 1)


def trials_needed(warm: Array, cold: Array, wanted: float) -> float:
    """The same where the warm trials `[W]` come first, in their order."""
    reached = np.flatnonzero(warm >= wanted)
    return float(reached[0] + 1) if len(reached) else len(warm) + first_reached(cold, wanted)


def compare(warm: tuple[Array, Array], cold: tuple[Array, Array]) -> dict[str, Any]:
    """Criterion and truth of the warm trials beside those of random ones."""
    expected = expected_best(cold[0])
    found: dict[str, Any] = {}
    for count in DRAWS:
        wanted = float(expected[count - 1])
        found[f"as {count} draws"] = {
            "trials": first_reached(cold[0], wanted),
            "trials_warm": trials_needed(warm[0], cold[0], wanted),
        }
    # Every trio of random draws is as likely: the best by the criterion is the i-th of all.
    order = np.argsort(cold[0])
    chance = [math.comb(i, WARM - 1) / math.comb(len(order), WARM) for i in range(len(order))]
    return {
        **found,
        "image_auroc_of_warm": float(warm[1][int(np.argmax(warm[0]))]),
        "image_auroc_of_three_draws": float(np.dot(chance, cold[1][order])),
        "criterion_of_warm": float(warm[0].max()),
        "criterion_of_three_draws": float(expected[WARM - 1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=Path, default=POOL, help="folder of the kept trials")
    parser.add_argument(
        "--warm-pool", type=Path, help="folder for the warm ones; beside it if none"
    )
    parser.add_argument("--pairs", nargs="+", required=True, help="FROM:TO, surfaces of the demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--criterion", choices=CRITERIA, default=CRITERIA[-1])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    pairs = [tuple(pair.split(":")) for pair in options.pairs]
    if any(len(pair) != 2 or not {*pair} <= {*surface_names()} for pair in pairs):
        raise SystemExit(f"--pairs are FROM:TO, each one of {', '.join(surface_names())}")
    beside = options.warm_pool or options.pool.with_name(f"{options.pool.name}-warm")
    wanted: dict[str, Training] = {}
    for source, target in pairs:
        for seed in options.seeds:
            for place, point in enumerate(points(options.pool, source, seed, options.criterion)):
                folder = str(beside / source)
                number = FIRST_NUMBER + place
                label = f"{source} to {target} seed {seed} point {place}"
                wanted[label] = Training(folder, DEMO, target, seed, number, Protocol(), point)
    settings = {"protocol": vars(Protocol()), "criterion": options.criterion, "warm": WARM}
    cells = run(options.out, settings, wanted, train, options.processes)
    rows: dict[str, Record] = {}
    for source, target in pairs:
        for seed in options.seeds:
            warm = values(study_folder(beside / source, target, MIXED, seed), options.criterion)
            cold = values(study_folder(options.pool, target, MIXED, seed), options.criterion)
            # The defaults come first with and without warm points.
            rows[f"{source} to {target} seed {seed}"] = compare(warm, (cold[0][1:], cold[1][1:]))
    summary: Record = {"studies": len(rows), "by_pair": rows}
    for count in DRAWS:
        name = f"as {count} draws"
        for key in ("trials", "trials_warm"):
            summary[f"{key} {name}"] = float(np.mean([row[name][key] for row in rows.values()]))
    for key in next(iter(rows.values())).keys() - {f"as {count} draws" for count in DRAWS}:
        summary[key] = float(np.mean([row[key] for row in rows.values()]))
    finish(options.out, settings, cells, summary)
    print({name: value for name, value in summary.items() if name != "by_pair"})


if __name__ == "__main__":
    main()
