"""How many trials should an ensemble have, and by which images should their scores be ranked?

    python benchmarks/ensemble_size.py [--pool FOLDER]

Reads the trials that `benchmarks/selection.py pool` kept. In each study the best trials by
synthetic validation, each under the scoring that it likes best, are joined as a package joins them
(`methods.ensemble.ScoreScale`). Regret is what the joint scores lack to the best trial and scoring
there were, in image AUROC; one member is the default pick. Two references: the unlabelled batch
with the held-out normals, which packages keep, and the held-out normals alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from scipy.stats import wilcoxon
from selection import POOL
from selection_judge import own_settings
from selection_pool import Study, load

from methods.criteria.aggregation import top
from methods.criteria.auroc import auroc
from methods.criteria.registry import get_criterion
from methods.ensemble import ScoreScale

CRITERION = "synthetic_validation"
SIZES = (1, 2, 3, 4, 5, 8, 12, 30)
REFERENCES = ("batch and held-out", "held-out")


def regrets(study: Study) -> dict[str, list[float]]:
    """By reference, a regret for each size."""
    criterion = get_criterion(CRITERION)
    values = torch.stack([criterion.evaluate(trial) for trial in study.trials]).numpy()
    settings = own_settings(np.where(np.isfinite(values), values, np.nan), study.default_setting)
    at = torch.from_numpy(values[np.arange(len(settings)), settings])
    bad = torch.from_numpy(study.anomalous)

    def worth(rows: torch.Tensor) -> torch.Tensor:
        return auroc(rows[:, bad], rows[:, ~bad])

    highest = max(float(worth(trial.test_scores).max()) for trial in study.trials)
    shares: dict[str, dict[int, torch.Tensor]] = {name: {} for name in REFERENCES}
    for place in top(at, max(SIZES)):
        trial, setting = study.trials[place], settings[place]
        test, held_out = trial.test_scores[setting], trial.held_out_scores[setting]
        for name, reference in zip(
            REFERENCES, (torch.cat((test, held_out)), held_out), strict=True
        ):
            shares[name][place] = ScoreScale.of(reference)(test)
    return {
        name: [
            highest - float(worth(torch.stack(list(own.values())[:size]).mean(0)[None]))
            for size in SIZES
        ]
        for name, own in shares.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, default=POOL, help="folder of the kept trials")
    folders = sorted(parser.parse_args().pool.glob("*/seed_*"))
    if not folders:
        raise SystemExit("no kept study there; first: python benchmarks/selection.py pool")
    found = [regrets(load(folder)) for folder in folders]
    result: dict[str, object] = {"studies": len(found), "criterion": CRITERION}
    for name in REFERENCES:
        table = np.array([each[name] for each in found])
        result[name] = {
            str(size): {
                "mean_regret": round(float(column.mean()), 4),
                "better_than_one": int((column < table[:, 0] - 1e-9).sum()),
                "worse_than_one": int((column > table[:, 0] + 1e-9).sum()),
                "p_two_sided": None
                if size == 1
                else round(float(wilcoxon(column - table[:, 0]).pvalue), 5),
            }
            for size, column in zip(SIZES, table.T, strict=True)
        }
    print(json.dumps(result, indent=2))
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
