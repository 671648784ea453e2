"""What more projections of the same network do: idempotency, AUROC and passes.

    python benchmarks/iterated_projection.py [--steps 150] [--size 48] [--seeds 0]

One training for each demo category and seed. The idempotency residual of an image is the largest
change of a pixel that one more projection makes; `grew` is the share of images for which it is
larger than after one projection. `plain` iterates without looking at residuals, as the paper writes
it. Writes `iterated_projection.json` beside itself.
"""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any, cast

from family_runs import SHARED, Arm, Run, aurocs, parser, trained
from torch import Tensor

from methods.filtering_autoencoder.detector import FilteringDetector

COUNTS = (1, 2, 3, 5, 10)


def residuals(detector: FilteringDetector, results: Tensor) -> Tensor:
    return (detector.reconstruct(results) - results).abs().flatten(1).amax(1)


def look(run: Run) -> list[dict[str, Any]]:
    found = trained(run)
    detector, rows = cast(FilteringDetector, found.progress.detector), []
    plain = detector.reconstruct(found.images)
    first = residuals(detector, plain)
    for count in range(1, max(COUNTS) + 1):
        if count > 1:
            plain = detector.reconstruct(plain)
        if count not in COUNTS:
            continue
        guarded = residuals(detector, detector.project(found.images, {"projections": count}))
        unguarded = residuals(detector, plain)
        rows.append(
            {
                "category": run.category,
                "seed": run.seed,
                "projections": count,
                "residual": float(guarded.mean()),
                "grew": float((guarded > first + 1e-6).float().mean()),
                "plain_residual": float(unguarded.mean()),
                "plain_grew": float((unguarded > first + 1e-6).float().mean()),
                **aurocs(found, projections=count),
            }
        )
    return rows


def main() -> None:
    options = parser(str(__doc__).splitlines()[0], ["fae"]).parse_args()
    shared = {**SHARED, "steps": options.steps}
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        for category, seed in itertools.product(options.categories, options.seeds):
            rows += look(
                Run(category, "fae", Arm("fae", {}), seed, options.size, shared, Path(cache))
            )
    names = [name for name in rows[0] if name not in ("category", "seed", "projections")]
    summary = {
        count: {
            name: round(statistics.mean(r[name] for r in rows if r["projections"] == count), 4)
            for name in names
        }
        for count in COUNTS
    }
    result = {
        "data": f"demo, {', '.join(options.categories)}, {options.size} x {options.size}",
        "seeds": options.seeds,
        "shared": shared,
        "by_projections": summary,
        "runs": [
            {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()} for row in rows
        ],
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
