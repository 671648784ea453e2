"""What detectors on pretrained features reach, and what corruption, noise and size are worth there.

    python benchmarks/feature_space.py [--data DIR CATEGORY ...] [--part main|large|pixels|single]

Image AUROC and AUPRO of `feature-fae` at its defaults, of `patch-memory`, which trains nothing, of
both on a network without pretraining, and of the pixel autoencoder `fae`, on the tasks of
`feature_tasks.py`. Each detector is scored under its whole grid: by one fixed setting, the same for
all tasks; by the setting that the default criterion chooses without labels; and by the best there
is, which only labels know. Defaults and fixed settings were chosen on the tasks in `DESIGN`, so
figures are given for these and for the others apart.

Parts: `main` has three seeds at 128 px, `large` the same at 256 px, `pixels` the pixel autoencoder
at 64 px, and `single` replaces one hyperparameter at a time (one seed, design tasks). A run that
was cut off goes on where it was; cells of all runs are kept together in feature_space.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cells import Record, finish, load, run
from feature_tasks import DEMO, DEMO_SURFACES, Task, tasks_of

from methods.backbones.features import Extractor
from methods.backbones.table import FeatureTable
from methods.contract import Context, FeatureMethod, TrialData, stream_seed, unit
from methods.criteria.defects import build_synthetic
from methods.criteria.evidence import gather_evidence
from methods.criteria.registry import get_criterion
from methods.hyperparameter import Value
from methods.registry import get_method
from search_spaces.loader import load_search_space
from tuner.evaluation.image_metrics import image_auroc
from tuner.evaluation.pixel_metrics import aupro
from tuner.study.space import MethodSpace, build_space, families_of
from tuner.study.trial import CORRUPTION_STREAM, SCORING_CRITERION
from tuner.study.workbench import CONTROL, SEEN, SYNTHETIC_STREAM, reference_of

TARGET = Path(__file__).with_suffix(".json")
SETTINGS = {"version": 2}
DESIGN = ("demo tile", "demo grid", "demo carpet", "tile break", "tile uneven")
SEEDS = (0, 1, 2)
_EMBEDDED = 16
WIDE: Mapping[str, tuple[Value, ...]] = {
    "level": ("all", "8", "16"),
    "discrepancy": ("mse", "cosine"),
    "map_normalisation": ("none", "ratio", "z"),
    "border": (0.0, 0.0625),
    "smoothing_passes": (0, 1, 2),
    "pooling": ("topk", "top5", "topk_relative"),
}
# Beside the default one.
CRITERIA = ("reference_agreement", "referenced_synthetic_validation", "synthetic_validation")

MAIN: Mapping[str, tuple[str, dict[str, Value]]] = {
    "feature-fae": ("feature-fae", {}),
    "patch-memory": ("patch-memory", {}),
    "noise only": ("feature-fae", {"corrupted_share": 0.0}),
    "neither": ("feature-fae", {"corrupted_share": 0.0, "noise_sigma": 0.0}),
    "feature-fae, random weights": ("feature-fae", {"backbone": "random"}),
    "patch-memory, random weights": ("patch-memory", {"backbone": "random"}),
}
# What `single` starts from: the defaults but for the depth, which it chose.
BASE: Mapping[str, Value] = {"depth": 1}
SINGLE: Mapping[str, dict[str, Value]] = {
    "base": {},
    "noise_sigma 0": {"noise_sigma": 0.0},
    "noise_sigma 1": {"noise_sigma": 1.0},
    "noise_target clean": {"noise_target": "clean"},
    "noise_target clean, noise_sigma 1": {"noise_target": "clean", "noise_sigma": 1.0},
    "mask_weight 0.1": {"mask_weight": 0.1},
    "mask_weight 0.9": {"mask_weight": 0.9},
    "corrupted_share 0.25": {"corrupted_share": 0.25},
    "corrupted_share 1": {"corrupted_share": 1.0},
    "width 48": {"width": 48},
    "bottleneck 32": {"bottleneck": 32},
    "depth 0": {"depth": 0},
    "depth 2": {"depth": 2},
    "levels 8": {"levels": "8"},
    "levels 16": {"levels": "16"},
    "steps 100": {"steps": 100},
}


@dataclass(frozen=True)
class Cell:
    """One training on one task."""

    source: str
    category: str
    task: str
    size: int
    seed: int
    method: str
    values: Mapping[str, Value] = field(default_factory=dict)


def measure(cell: Cell) -> Record:
    """Train, score under the whole grid, and open the labels of the task for the figures."""
    torch.set_num_threads(1)
    task = tasks_of(cell.source, cell.category, cell.size)[cell.task]
    space = space_of(cell.method)
    # The network sees the images as they are: their size is what is compared.
    whole = {"scale": 1.0} if isinstance(get_method(cell.method), FeatureMethod) else {}
    values = {**space.complete(space.defaults), **whole, **cell.values}
    method = get_method(cell.method)
    precision = "bfloat16"
    context = Context(seed=cell.seed, rungs=1, precision=precision, channels_last=True)
    data = task.data(cell.seed)
    generator = torch.Generator().manual_seed(stream_seed(cell.seed, SYNTHETIC_STREAM))
    synthetic = build_synthetic(
        data.held_out,
        data.test,
        generator,
        limit=128,
        exclude=families_of(method, space),
        normals=data.train,
    )
    watch = BackboneWatch()
    if isinstance(method, FeatureMethod):
        tables = shared_table(cell, values, context)
        pasted = method.tabulate(values, [synthetic.images], context)
        data = TrialData(data.train, data.held_out, data.test, None, (joined(tables, pasted),))
        own = space_of(CONTROL, **{name: values[name] for name in ("backbone", "levels")})
        found = reference_of(data, synthetic.images, own, cell.seed, [values["scale"]])
        synthetic = replace(synthetic, **{k: torch.from_numpy(v) for k, v in found.items()})
    began, watch.seconds = time.process_time(), 0.0
    (last,) = method.fit(data, values, context)
    seconds, backbone = time.process_time() - began, watch.seconds
    clean, corrupted = method.corrupt(data, values, _EMBEDDED, context.generator(CORRUPTION_STREAM))
    began = time.process_time()
    evidence = gather_evidence(
        last.detector,
        clean,
        corrupted,
        held_out=data.held_out,
        test=data.test,
        synthetic=synthetic,
        grid=space.grid,
    )
    scoring = time.process_time() - began
    watch.close()
    chosen = {
        name: int(get_criterion(name).evaluate(evidence).nan_to_num(-1).argmax())
        for name in dict.fromkeys((SCORING_CRITERION, *CRITERIA))
    }
    aurocs = [image_auroc(task.anomalous, s.double().numpy()) for s in evidence.test_scores]
    return {
        # One text a cell keeps the file readable.
        "aurocs": " ".join(f"{value:.4f}" for value in aurocs),
        "chosen": chosen[SCORING_CRITERION],
        "by": chosen,
        "fixed": space.default_setting,
        "aupro": round(_aupro(last.detector, space, data, task), 4),
        "train_seconds": round(seconds, 2),
        "backbone_seconds": round(backbone, 2),
        "scoring_seconds": round(scoring, 2),
    }


def _aupro(detector: Any, space: MethodSpace, data: TrialData, task: Task) -> float:
    if task.masks is None:
        return float("nan")
    setting = space.grid[space.default_setting]
    maps = [detector.maps(unit(part), setting).numpy() for part in data.test.split(32)]
    return aupro(np.concatenate(maps), task.masks)


class BackboneWatch:
    """Adds up the processor time that is spent in backbones."""

    def __init__(self) -> None:
        self.seconds, self._plain = 0.0, Extractor.differentiable

        def timed(extractor: Extractor, images: torch.Tensor) -> list[torch.Tensor]:
            began = time.process_time()
            found = self._plain(extractor, images)
            self.seconds += time.process_time() - began
            return found

        Extractor.differentiable = timed  # type: ignore[method-assign]

    def close(self) -> None:
        Extractor.differentiable = self._plain  # type: ignore[method-assign]


@lru_cache(maxsize=8)
def space_of(method: str, **pins: Value) -> MethodSpace:
    """A method's space with every scoring setting that was tried, not only those that stayed."""
    space = load_search_space(method)
    if isinstance(get_method(method), FeatureMethod):
        lists = {**WIDE, "pooling": (*(("max",) * (method == CONTROL)), *WIDE["pooling"])}
        declared = {p.name for p in get_method(method).hyperparameters}
        space = replace(space, scoring={n: v for n, v in lists.items() if n in declared})
    return build_space(get_method(method), space, "cpu", pins)


_TABLES: dict[tuple[object, ...], FeatureTable] = {}


def shared_table(cell: Cell, values: Mapping[str, Value], context: Context) -> FeatureTable:
    """Features of a task's images, which all arms and seeds share."""
    where = (cell.source, cell.category, cell.size)
    key = (*where, cell.task, values["backbone"], values["levels"])
    if key not in _TABLES:
        if len(_TABLES) > 4:
            _TABLES.clear()
        found = tasks_of(*where)[cell.task]
        sets = [torch.from_numpy(part) for part in (found.normals, found.batch)]
        method = get_method("feature-fae")
        assert isinstance(method, FeatureMethod)
        own = {name: values[name] for name in SEEN}
        _TABLES[key] = method.tabulate(own, sets, context)
    return _TABLES[key]


def joined(one: FeatureTable, other: FeatureTable) -> FeatureTable:
    maps = tuple(torch.cat(pair) for pair in zip(one.maps, other.maps, strict=True))
    return FeatureTable(one.digest, one.strides, torch.cat((one.keys, other.keys)), maps)


def wanted(part: str, sources: Sequence[tuple[str, str]]) -> Iterator[tuple[str, Cell]]:
    """The cells of a part, seed by seed, so that a run that is cut off is balanced."""
    size = {"large": 256, "pixels": 64}.get(part, 128)
    tasks = [(s, c, name) for s, c in sources for name in tasks_of(s, c, size)]
    for seed in SEEDS if part in ("main", "large") else SEEDS[:1]:
        for source, category, name in tasks:
            if part == "single":
                if name not in DESIGN:
                    continue
                arms = {k: ("feature-fae", {**BASE, **v}) for k, v in SINGLE.items()}
            elif part == "pixels":
                arms = {"fae": ("fae", {})}
            else:
                arms = dict(MAIN) if part == "main" else {k: MAIN[k] for k in list(MAIN)[:2]}
                if seed:
                    arms = {k: v for k, v in arms.items() if "random" not in k}
            for arm, (method, values) in arms.items():
                label = f"{part} | {arm} | {name} | seed {seed}"
                yield label, Cell(source, category, name, size, seed, method, values)


def summary(cells: Mapping[str, Record]) -> Record:
    """Means over tasks by part and arm: of all tasks, of the design tasks and of the others."""
    table: dict[str, dict[str, dict[str, list[Record]]]] = {}
    for label, record in cells.items():
        if "error" not in record:
            part, arm, task, _ = label.split(" | ")
            table.setdefault(part, {}).setdefault(arm, {}).setdefault(task, []).append(record)
    return {
        part: {arm: _figures(tasks) for arm, tasks in arms.items()} for part, arms in table.items()
    }


def _figures(tasks: Mapping[str, Sequence[Record]]) -> Record:
    by_task = {
        name: {
            "fixed": _mean([_at(r, r["fixed"]) for r in records]),
            "chosen": _mean([_at(r, r["chosen"]) for r in records]),
            **{
                f"by {name}": _mean([_at(r, r["by"][name]) for r in records])
                for name in CRITERIA
                if all("by" in r for r in records)
            },
            "best": _mean([max(map(float, r["aurocs"].split())) for r in records]),
            "aupro": _mean([r["aupro"] for r in records]),
            "train_seconds": _mean([r["train_seconds"] for r in records]),
            "backbone_seconds": _mean([r["backbone_seconds"] for r in records]),
            "seeds": len(records),
        }
        for name, records in tasks.items()
    }
    groups = {
        "all": list(by_task),
        "design": [name for name in by_task if name in DESIGN],
        "others": [name for name in by_task if name not in DESIGN],
    }
    keys = [key for key in next(iter(by_task.values())) if key != "seeds"]
    return {
        "mean": {
            group: {key: _mean([by_task[name][key] for name in names]) for key in keys}
            for group, names in groups.items()
            if names
        },
        "tasks": by_task,
    }


def _at(record: Record, setting: int) -> float:
    return float(record["aurocs"].split()[setting])


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)


def show(result: Record) -> None:
    for part, arms in result.items():
        print(f"\n{part}: image AUROC by the fixed setting | by the criterion | best | AUPRO")
        for arm, figures in arms.items():
            rows = [
                f"{group} {m['fixed']:.3f} | {m['chosen']:.3f} | {m['best']:.3f} | {m['aupro']:.3f}"
                for group, m in figures["mean"].items()
            ]
            print(f"  {arm:34s} {len(figures['tasks'])} tasks: " + ";  ".join(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", nargs=2, action="append", default=[], metavar=("DIR", "CATEGORY"))
    parser.add_argument("--part", choices=("main", "large", "pixels", "single"), action="append")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--show", action="store_true", help="print what is there, train nothing")
    options = parser.parse_args()
    sources = [(DEMO, surface) for surface in DEMO_SURFACES]
    sources += [(str(Path(folder).resolve()), name) for folder, name in options.data]
    if not options.show:
        for part in options.part or ("main", "large", "pixels", "single"):
            run(options.out, SETTINGS, dict(wanted(part, sources)), measure, options.processes)
    cells = load(options.out, SETTINGS)
    result = summary(cells)
    finish(options.out, SETTINGS, cells, result)
    show(result)


if __name__ == "__main__":
    main()
