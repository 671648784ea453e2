"""How well criteria choose without labels: regrets of their picks over tasks, and what follows.

    python benchmarks/selection.py pool [--data PATH --category NAME ...] [--processes 2]
    python benchmarks/selection.py pool --surfaces --digits 2 6
    python benchmarks/selection.py judge

`pool` trains every trial once and keeps what criteria may see, and the truth apart: 30 trials a
surface and seed, the defaults first, then random draws from the search space of the filtering
autoencoder. It goes on where it was cut off, and further data may be added. `judge` reads the pool
in a minute and writes selection.json beside itself, so that a new criterion costs no training:

- regret of each criterion, combination, robust pick and ensemble by task, beside a random pick
  (expected), the defaults and a detector that nobody trains, with Holm-corrected Wilcoxon tests;
  for the choice of trial and setting together, and for either alone;
- what leave-one-task-out would take as default, among criteria and among all, and what that costs
  on the task left out;
- whether numbers without labels tell good picks from bad ones;
- successive halving, synchronous and not, against full-length random search, from the rungs;
- criteria of embeddings in several embeddings of the same networks.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from cells import finish, run
from selection_card import card
from selection_contenders import (
    CHOOSER,
    FIXED,
    GAMES,
    LEADING,
    REFERENCED,
    SMOOTHED,
    WITH_FIXED,
    Judged,
    table_of,
)
from selection_embedding import CRITERIA as OF_EMBEDDINGS
from selection_embedding import EMBEDDINGS
from selection_embedding import regrets as embedding_regrets
from selection_judge import (
    Table,
    better_than,
    controls,
    leave_one_out,
    mean_regrets,
    task_means,
)
from selection_pool import Protocol, Training, load, train
from selection_stopping import early_stopping, saving
from selection_tasks import DEMO, LIKE, surface_names
from st_ssad_tasks import DIGITS

from methods.criteria.referenced import reference_validation
from methods.criteria.registry import criterion_names
from tuner.study.jsonfile import write_json

TARGET = Path(__file__).with_suffix(".json")
POOL = Path(tempfile.gettempdir()) / "tuner-benchmarks" / "selection"
KEEP = (2, 3, 4)
# Random search's full-length trials, and what ASHA may lack to their criterion.
DRAWS, TOLERANCES = (10, 30), (0.0, 0.01)


def pool(options: argparse.Namespace) -> None:
    """Train what the pool lacks."""
    protocol = Protocol(size=options.size, steps=options.steps)
    surfaces = [(DEMO, name) for name in options.surfaces]
    surfaces += [(DIGITS, name) for name in options.digits]
    if bool(options.data) != bool(options.category):
        raise SystemExit("--data and --category go together")
    surfaces += [(str(Path(options.data).resolve()), name) for name in options.category or ()]
    trainings = [
        Training(str(options.pool), source, name, seed, trial, protocol)
        for source, name in surfaces
        for seed in options.seeds
        for trial in range(options.trials)
    ]
    file = options.pool / "cells.json"
    settings = {"protocol": vars(protocol)}
    cells = run(file, settings, {t.label: t for t in trainings}, train, options.processes)
    seconds = [c["train_seconds"] for c in cells.values() if "train_seconds" in c]
    failed = sum("error" in c for c in cells.values())
    summary = {"trainings": len(seconds), "failed": failed, "train_seconds": sum(seconds)}
    finish(file, settings, cells, summary)
    print(summary)


def judge(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that is read off the pool."""
    every = sorted(options.pool.glob("*/seed_*"))
    folders = [f for f in every if len(list(f.glob("trial_*.npz"))) >= options.trials]
    if not folders:
        raise SystemExit(
            f"{options.pool} holds no study of {options.trials} trials; run the pool stage first"
        )
    judged = [Judged(load(folder)) for folder in folders]
    regrets = [one.regrets() for one in judged]
    known = [controls(one.auroc, one.study.default_setting) for one in judged]
    result: dict[str, Any] = {
        "studies": len(judged),
        "trials": {one.study.task: len(one.study.trials) for one in judged},
        "image_auroc": {
            f"{one.study.task} seed {one.study.seed}": {
                "mean": float(one.auroc.mean()),
                "best": float(one.auroc.max()),
                "defaults": float(one.auroc[0, one.study.default_setting]),
                FIXED: float(one.auroc.max()) - own["both"][FIXED],
                f"{FIXED} on pasted defects": reference_validation(one.study.trials[0]),
            }
            for one, own in zip(judged, regrets, strict=True)
        },
    }
    for game in GAMES:
        rows = [{**own[game], **control[game]} for own, control in zip(regrets, known, strict=True)]
        result[game] = summary_of(table_of(judged, rows))
    leading = result["both"].get("leave_one_task_out", {}).get("criteria", {}).get("default")
    result["card"] = card(judged, leading or CHOOSER)
    result["early_stopping"] = {
        name: {
            f"one in {keep}": _means([early_stopping(o.rung_values(name), keep) for o in judged])
            for keep in KEEP
        }
        for name in LEADING
        # A criterion that came after the pool has no history in it.
        if name == REFERENCED or all(name in one.study.rung_criteria for one in judged)
    }
    result["asynchronous_early_stopping"] = asynchronous(judged)
    result["embedding"] = embeddings(judged, known)
    return result


def asynchronous(judged: list[Judged]) -> dict[str, Any]:
    """Training of full-length random search over that of ASHA for the same criterion."""
    found: dict[str, Any] = {}
    for name in SMOOTHED:
        values = [one.rung_values(name) for one in judged]
        last = values[0].shape[1] - 1
        every = tuple(range(last + 1))
        for keep, stops in (*((keep, every) for keep in KEEP), (KEEP[-1], (0, last))):
            for draws, less in product(DRAWS, TOLERANCES):
                rows = [saving(own, draws, keep, stops, less) for own in values]
                at = ", ".join(str(stop + 1) for stop in stops)
                label = f"one in {keep} at rungs {at}; {draws} draws, {less} less"
                found.setdefault(name, {})[label] = _means(rows)
    return found


def embeddings(judged: list[Judged], known: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Regrets of the criteria of embeddings in each, and what leaving one task out chooses."""
    rows = [
        {**embedding_regrets(list(one.study.trials), one.auroc, one.chosen), **control["both"]}
        for one, control in zip(judged, known, strict=True)
    ]
    table = table_of(judged, rows)
    means = mean_regrets(table)
    found: dict[str, Any] = {"mean_regret": means}
    for name in OF_EMBEDDINGS:
        own = [f"{name} in {embedding}" for embedding in EMBEDDINGS]
        if len(next(iter(table.values()))) > 1:
            found[name] = _left_out(table, own, means)
    return found


def summary_of(table: Table) -> dict[str, Any]:
    """One game: regrets by task, means, p-values, and the default by leave-one-task-out."""
    means = mean_regrets(table)
    # The untrained detector is another candidate, not another way to choose.
    others = ("random", "defaults", FIXED)
    single = [n for n in table if n not in others and not n.endswith(WITH_FIXED)]
    summary: dict[str, Any] = {
        "regret": task_means(table),
        "mean_regret": dict(sorted(means.items(), key=lambda item: (np.isnan(item[1]), item[1]))),
        "relative_to_random": {n: means[n] / means["random"] for n in table},
        "relative_to_defaults": {n: means[n] / means["defaults"] for n in table},
        "p_below_random": better_than(table, "random"),
        "p_below_defaults": better_than(table, "defaults"),
        "p_below_random_over_tasks": better_than(table, "random", over="tasks"),
        "p_referenced_below_plain": better_than(
            {name: table[name] for name in (CHOOSER, REFERENCED)}, CHOOSER
        )[REFERENCED],
    }
    registered = [name for name in single if name in criterion_names()]
    if len(next(iter(table.values()))) > 1:
        groups = {"criteria": registered, "all": single}
        summary["leave_one_task_out"] = {
            group: _left_out(table, names, means) for group, names in groups.items()
        }
    return summary


def _left_out(table: Table, candidates: list[str], means: dict[str, float]) -> dict[str, Any]:
    """What leave-one-task-out chooses among some candidates, and what it costs."""
    found = leave_one_out(table, candidates)
    ours = {"left_out": {task: values for task, (_, values) in found.items()}}
    names = ("random", "defaults")
    return {
        "default": min((n for n in candidates if np.isfinite(means[n])), key=lambda n: means[n]),
        "chosen": {task: name for task, (name, _) in found.items()},
        "mean_regret": mean_regrets({**ours, **{name: table[name] for name in names}}),
        **{
            f"p_below_{name}": better_than({**ours, name: table[name]}, name)["left_out"]
            for name in names
        },
    }


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def text(result: dict[str, Any]) -> str:
    """The main table: contenders by mean regret, worst tasks beside them."""
    lines = []
    for game in GAMES:
        part = result[game]
        lines.append(f"{game:40s} regret  /random  /defaults  p(random)  p(defaults)  worst task")
        for name, value in part["mean_regret"].items():
            tasks = {t: v for t, v in part["regret"][name].items() if np.isfinite(v)}
            worst = max(tasks, key=lambda t: tasks[t], default="-")
            lines.append(
                f"  {name:38s} {value:6.4f}  {part['relative_to_random'][name]:7.2f}"
                f"  {part['relative_to_defaults'][name]:9.2f}"
                f"  {part['p_below_random'].get(name, np.nan):9.4f}"
                f"  {part['p_below_defaults'].get(name, np.nan):11.4f}"
                f"  {worst} {tasks.get(worst, np.nan):.3f}"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=("pool", "judge"))
    parser.add_argument("--pool", type=Path, default=POOL, help="folder of the kept trials")
    parser.add_argument("--surfaces", nargs="*", choices=surface_names(), default=surface_names())
    parser.add_argument("--digits", nargs="*", choices=sorted(LIKE), default=[], help="normal ones")
    parser.add_argument("--data", help="a folder of more surfaces, with labels")
    parser.add_argument("--category", nargs="+", help="surfaces of --data; a task a kind of defect")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--trials",
        type=int,
        default=30,
        help="of each surface and seed; studies with fewer are not judged",
    )
    parser.add_argument("--size", type=int, default=Protocol.size, help="image side in pixels")
    parser.add_argument("--steps", type=int, default=Protocol.steps, help="training steps")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    if options.stage == "pool":
        pool(options)
        return
    result = _rounded(judge(options))
    write_json(options.out, result)
    print(text(result))


if __name__ == "__main__":
    main()
