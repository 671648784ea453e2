"""How well criteria choose without labels on pretrained features, and whether the search pays.

    python benchmarks/choice.py pool [--data DIR CATEGORY ...] [--processes 2]
    python benchmarks/choice.py judge [--held-out]

`pool` trains `feature-fae` on the tasks of `choice_tasks.py`, 192 px: the defaults at three scales,
then random draws from the search space, and keeps their raw maps. It goes on where it was cut off.
`judge` reads the pool in minutes and writes choice.json beside itself: image AUROC, defects missed
and normals flagged at the threshold for 5 % false alarms, by every way of choosing, for tasks as
they are and for shifted ones. Criteria, defaults and the card were chosen on the tasks in `DESIGN`;
with `--held-out` the others are judged, too, and quoted apart.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from cells import Record, finish, load, run
from choice_card import card
from choice_judge import CRITERIA, Study, controls, ways
from choice_judge import load as load_study
from choice_pool import SCALES, SIZE, Training, train
from choice_tasks import Source, is_design, is_shifted, sources_of
from selection_judge import holm

from tuner.study.jsonfile import write_json

TARGET = Path(__file__).with_suffix(".json")
POOL = Path(tempfile.gettempdir()) / "tuner-benchmarks" / "choice"
BLOCKS = ((0, 6), (1, 6), (0, 10), (1, 10), (2, 10), (0, 20), (1, 20), (2, 20))
SETTINGS = {"size": SIZE}
OF_RANDOM = "regret of random's"
CHOSEN = "best of each scale by agreed_score_variance"

QUOTED = (
    CHOSEN,
    "defaults",
    "defaults at every scale",
    "memory",
    "memories at every scale",
    "best single",
)


def wanted(options: argparse.Namespace) -> dict[str, Training]:
    """All trainings by their label, a block of trials a surface at a time, so that a pool that is
    cut off is balanced."""
    data = [(str(Path(folder).resolve()), name) for folder, name in options.data]
    found: dict[str, Training] = {}
    for (seed, last), source in product(BLOCKS, sources_of(data)):
        for trial in range(-len(SCALES), last):
            own = Training(str(options.pool), source, seed, trial)
            found.setdefault(own.label, own)
    return found


def pool(options: argparse.Namespace) -> None:
    """Train what the pool lacks."""
    file = options.pool / "cells.json"
    cells = run(file, SETTINGS, wanted(options), train, options.processes)
    seconds = [c["train_seconds"] for c in cells.values() if "train_seconds" in c]
    finish(file, SETTINGS, cells, {"trainings": len(seconds), "seconds": sum(seconds)})


def studies(options: argparse.Namespace) -> list[Study]:
    """The kept studies of the most trials that all of them have, at least `--trials`."""
    cells = load(options.pool / "cells.json", SETTINGS)
    folders: dict[tuple[Path, Source], dict[int, Record]] = {}
    for label, training in wanted(options).items():
        record = cells.get(label)
        if record is not None and "error" not in record:
            own = folders.setdefault((training.path.parent, training.source), {})
            own[training.trial] = record
    found = []
    for (folder, _), records in sorted(folders.items(), key=lambda item: str(item[0][0])):
        trials = [records[n] for n in range(len(records)) if n in records]
        if len(trials) < options.trials or min(records) > -len(SCALES):
            continue
        drawn = [record["hyperparameters"] for record in trials[: options.trials]]
        with np.load(folder / "truth.npz") as truth:
            tasks = [t for t in truth.files if options.held_out or is_design(t)]
        found += [load_study(folder, task, drawn) for task in tasks]
    if not found:
        raise SystemExit(f"{options.pool} holds no study of {options.trials} trials; run: pool")
    return found


def judge(options: argparse.Namespace) -> Record:
    judged = studies(options)
    rows = []
    for study in judged:
        figures = {name: study.figures(picked) for name, picked in ways(study).items()}
        figures |= {name: {"auroc": value} for name, value in controls(study).items()}
        rows.append(figures)
    groups = {
        f"{part}, {form}": [
            place
            for place, study in enumerate(judged)
            if is_design(study.task) == (part == "design")
            and is_shifted(study.task) == (form == "shifted")
        ]
        for part, form in product(("design", "held-out"), ("as they are", "shifted"))
    }
    return {
        "trials": options.trials,
        "studies": {name: len(places) for name, places in groups.items()},
        "means": {
            group: table([rows[p] for p in places], [judged[p].task for p in places])
            for group, places in groups.items()
            if places
        },
        "gains": {
            group: {
                control: gain(
                    [rows[p][CHOSEN]["auroc"] - rows[p][control]["auroc"] for p in places],
                    [judged[p].task for p in places],
                )
                for control in QUOTED[1:-1]
            }
            for group, places in groups.items()
            if places
        },
        "tasks": {
            f"{study.task} seed {study.seed}": {
                name: round(own[name]["auroc"], 4) for name in QUOTED
            }
            for study, own in zip(judged, rows, strict=True)
        },
        "card": card(judged),
    }


def table(
    rows: Sequence[Mapping[str, Mapping[str, float]]], tasks: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Means over tasks of every way, with one-sided p-values (Wilcoxon over tasks, Holm over the
    criteria) against the defaults and against the memory."""
    by_task = {
        name: {
            key: np.array(
                [np.mean([r[name][key] for r, t in zip(rows, tasks, strict=True) if t == task])
                 for task in sorted(set(tasks))]
            )
            for key in rows[0][name]
        }
        for name in rows[0]
    }  # fmt: skip
    found = {
        name: {key: round(float(values.mean()), 4) for key, values in own.items()}
        for name, own in by_task.items()
    }
    best = by_task["best single"]["auroc"]
    regret = {name: float((best - own["auroc"]).mean()) for name, own in by_task.items()}
    for name, own in found.items():
        own[OF_RANDOM] = round(regret[name] / max(regret["random pick"], 1e-9), 3)
    for control in ("defaults", "memory"):
        names = [f"best of each scale by {c}" for c in CRITERIA]
        for name, p in holm(
            {n: _above(by_task[n]["auroc"], by_task[control]["auroc"]) for n in names}
        ).items():
            found[name][f"p above {control}"] = round(p, 5)
    return found


def gain(gains: Sequence[float], tasks: Sequence[str]) -> dict[str, float]:
    """Mean of what was gained in each study, in how many, and one-sided p by Wilcoxon's test; the
    same over tasks, whose seeds share a batch."""
    by_task = [
        float(np.mean([g for g, t in zip(gains, tasks, strict=True) if t == task]))
        for task in sorted(set(tasks))
    ]
    nothing = np.zeros(len(gains))
    return {
        "mean": round(float(np.mean(gains)), 4),
        "better": sum(g > 0 for g in gains),
        "p": round(_above(np.array(gains), nothing), 4),
        "mean over tasks": round(float(np.mean(by_task)), 4),
        "p over tasks": round(_above(np.array(by_task), nothing[: len(by_task)]), 4),
    }


def _above(one: np.ndarray, other: np.ndarray) -> float:
    from scipy.stats import wilcoxon

    if not (one != other).any():
        return 1.0
    return float(wilcoxon(one, other, alternative="greater").pvalue)


def show(result: Mapping[str, Any]) -> None:
    for group, means in result["means"].items():
        count = result["studies"][group]
        print(f"\n{group}: {count} studies: AUROC, regret over random's, missed, flagged")
        for name, own in sorted(means.items(), key=lambda item: -item[1]["auroc"]):
            shares = "  ".join(f"{own[k]:.3f}" for k in ("missed", "flagged") if k in own)
            print(f"  {name:62s} {own['auroc']:.4f}  {own[OF_RANDOM]:5.2f}  {shares}")
        for control, own in result["gains"][group].items():
            print(f"  gained over {control}: {own}")
    print("\ncard:", result["card"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stage", choices=("pool", "judge"))
    parser.add_argument("--data", nargs=2, action="append", default=[], metavar=("DIR", "CATEGORY"))
    parser.add_argument("--pool", type=Path, default=POOL, help="folder of the kept trials")
    parser.add_argument("--trials", type=int, default=6, help="of each study that is judged")
    parser.add_argument("--held-out", action="store_true", help="judge the other tasks, too")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    if options.stage == "pool":
        pool(options)
        return
    result = judge(options)
    write_json(options.out, result)
    show(result)


if __name__ == "__main__":
    main()
