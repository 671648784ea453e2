"""Which numbers without labels tell good picks from bad ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from choice_judge import Study, signs, ways

GOOD, BAD, NEAR = 0.8, 0.6, 0.05


def card(judged: Sequence[Study], chosen: str) -> dict[str, object]:
    """Rank correlation of each number with the image AUROC of the pick, over studies."""
    from scipy.stats import spearmanr

    rows, worth = [], []
    for study in judged:
        picked = ways(study)[chosen]
        rows.append(signs(study, picked))
        worth.append(study.worth(picked.test))
    found: dict[str, object] = {
        name: round(float(spearmanr([row[name] for row in rows], worth).statistic), 3)
        for name in rows[0]
    }
    found["good"] = round(float(np.mean([value >= GOOD for value in worth])), 3)
    return found
