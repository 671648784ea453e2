"""What false-positive rate comes of thresholds from few normals, on scores of three laws.

    python benchmarks/tail_thresholds.py

Mean share of 200 000 new normal scores above the threshold, over 300 sets of 40 or 100 held-out
ones, for a wanted 0.005: the quantile's answer, the extreme-value threshold, and the same without
drawing the tail's shape towards 0. Writes tail_thresholds.json beside itself.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tuner.registry import threshold
from tuner.registry.threshold import extreme_value_threshold, quantile_threshold

RATE, SETS, NEW = 0.005, 300, 200_000
LAWS = {
    "exponential": lambda rng, size: rng.exponential(size=size),
    "normal": lambda rng, size: rng.normal(size=size),
    "lognormal": lambda rng, size: rng.lognormal(0, 0.5, size=size),
}


def main() -> None:
    rng, rows = np.random.default_rng(1), []
    drawn_to_zero = threshold.PRIOR_VALUES
    for count in (40, 100):
        for law, draw in LAWS.items():
            held_out, new = draw(rng, (SETS, count)), np.sort(draw(rng, NEW))
            row: dict[str, object] = {"law": law, "held_out": count, "wanted": RATE}
            for name, rule, prior in (
                ("quantile", quantile_threshold, 0),
                ("extreme-value", extreme_value_threshold, drawn_to_zero),
                ("extreme-value, shape as it is", extreme_value_threshold, 0),
            ):
                threshold.PRIOR_VALUES = prior
                values = [rule(one, RATE).value for one in held_out]
                row[name] = round(1 - float(np.searchsorted(new, values).mean()) / NEW, 4)
            rows.append(row)
            print(row)
    Path(__file__).with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
