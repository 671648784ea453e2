"""The FAE paper's ablations on the demo's defects: thin shapes, noise levels, blob sizes.

    python benchmarks/filtering_ablations.py [--arms strokes sigma-0.1] [--steps 150] [--size 48]

`strokes` and `no-strokes` train with thin curves as half of the corrupted regions and without any;
`sigma-S` adds anchored noise of one level S, the four of the paper's sweep, `sigma-0` none; and
`blobs-S` is corrupted by blobs of up to S. Every arm is judged by how large the smallest defect is
that stands out: figures are also given over the half of the defects that cover the fewest pixels.

Writes `filtering_ablations.json` beside itself, or --out. Finished trainings are kept: a run that
was cut off goes on.
"""

from __future__ import annotations

import statistics
import tempfile
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
from cells import Record, finish, run
from family_runs import IMAGES, MAPS, SHARED, Arm, Run, Trained, aurocs, parser, trained

from methods.contract import MapDetector
from methods.hyperparameter import Value
from tuner.evaluation import image_auroc

ARMS: dict[str, dict[str, Value]] = {
    "strokes": {"stroke_share": 0.5, "blob_share": 0.5, "dots_share": 0.0},
    "no-strokes": {"stroke_share": 0.0, "blob_share": 1.0, "dots_share": 0.0},
    "sigma-0": {"noise_target": "none"},
    **{f"sigma-{s}": {"noise_sigma": s, "noise_law": "fixed"} for s in (0.01, 0.05, 0.1, 0.2)},
    **{f"blobs-{s}": {"blob_size": s} for s in (0.05, 0.1, 0.2, 0.35)},
}
FIGURES = ("image_auroc", "pixel_auroc", "small_image_auroc", "small_pixel_auroc")


def small(found: Trained) -> dict[str, float]:
    """The same figures over the good images and the half of the defects with the fewest pixels."""
    pixels = found.masks.reshape(len(found.masks), -1).sum(1)
    defects = np.flatnonzero(found.anomalous)
    fewest = defects[np.argsort(pixels[defects], kind="stable")[: max(1, len(defects) // 2)]]
    kept = np.sort(np.concatenate([np.flatnonzero(~found.anomalous), fewest]))
    detector, images = cast(MapDetector, found.progress.detector), found.images[kept]
    maps = detector.maps(images, MAPS).numpy()
    return {
        "small_image_auroc": image_auroc(
            found.anomalous[kept], detector.scores(images, IMAGES).numpy()
        ),
        "small_pixel_auroc": image_auroc(found.masks[kept].ravel(), maps.ravel()),
    }


def work(cell: Run) -> Record:
    found = trained(cell)
    return {**aurocs(found), **small(found)}


def summarise(cells: dict[str, Record], arms: list[str], categories: list[str]) -> dict[str, Any]:
    """Of each arm the mean of every figure over categories and seeds, and its spread between
    seeds."""
    found: dict[str, Any] = {}
    for arm, figure in product(arms, FIGURES):
        values = [
            [c[figure] for n, c in cells.items() if n.startswith(f"{each} {arm} ") and figure in c]
            for each in categories
        ]
        every = [value for own in values for value in own]
        spreads = [statistics.stdev(own) for own in values if len(own) > 1]
        if every:
            found.setdefault(arm, {})[figure] = {
                "mean": round(statistics.mean(every), 4),
                "spread": round(statistics.mean(spreads), 4) if spreads else None,
            }
    return found


def main() -> None:
    parsed = parser(str(__doc__).splitlines()[0], list(ARMS))
    parsed.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parsed.parse_args()
    shared = {**SHARED, "steps": options.steps}
    settings = {"data": "demo", "size": options.size, "shared": shared, "arms": ARMS}
    cache = Path(tempfile.gettempdir()) / "tuner-benchmarks"
    wanted = {
        f"{category} {arm} seed {seed}": Run(
            category, arm, Arm("fae", ARMS[arm]), seed, options.size, shared, cache
        )
        for category, arm, seed in product(options.categories, options.arms, options.seeds)
    }
    cells = run(options.out, settings, wanted, work, options.processes)
    summary = summarise(cells, options.arms, options.categories)
    finish(options.out, settings, cells, summary)
    for arm, figures in summary.items():
        row = "  ".join(f"{name} {figure['mean']:.3f}" for name, figure in figures.items())
        print(f"{arm:12s} {row}")


if __name__ == "__main__":
    main()
