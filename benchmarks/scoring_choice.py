"""How well criteria chose in a finished study: among scoring settings, and among trials.

    python benchmarks/scoring_choice.py STUDY [--home TUNER_HOME] [--name NAME]

Opens the labels, so it is for studies that have ended. For every criterion: the image AUROC of the
setting that it picks in each trial (mean over trials), beside the mean over settings, the paper's
setting and the best one; Spearman's correlation with image AUROC over the settings of a trial (mean
over trials), and over trials, each under the setting that the study chose. Only trials that were
trained to the end count. Writes `scoring_choice_<name>.json` beside itself.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from methods.criteria.registry import get_criterion
from tuner.evaluation.audit import open_labels
from tuner.evaluation.image_metrics import image_auroc
from tuner.study.config import ledger_url, read_config
from tuner.study.files import CRITERION_PREFIX, TrialFiles
from tuner.study.home import Home
from tuner.study.ledger import Ledger
from tuner.study.workbench import set_up

Array = np.ndarray


def correlation(a: Array, b: Array) -> float:
    """Spearman's; NaN where either is constant or shorter than 3."""
    defined = np.isfinite(a) & np.isfinite(b)
    a, b = a[defined], b[defined]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(spearmanr(a, b).statistic)


def oriented(name: str, values: Array) -> Array:
    """A criterion's values with the better ones higher, and undefined ones lowest."""
    signed = values if get_criterion(name).direction == "maximize" else -values
    return np.where(np.isfinite(signed), signed, -math.inf)


def measure(study: str, home: Home) -> dict[str, Any]:
    config = read_config(study, home)
    bench = set_up(config, home)
    prepared = bench.prepared
    hashes = [prepared.test_hashes[i] for i in bench.parts.test_order]
    labels = open_labels(prepared.location, config.category, prepared.size, hashes)
    if labels is None:
        raise SystemExit(f"the data of {study} hold no labels")
    ledger = Ledger.read(ledger_url(config, home), study)
    trials = [entry for entry in ledger.entries() if entry.state == "finished"]
    folder = home.study(study)
    kept = [TrialFiles(folder.trial(entry.number)).scores() for entry in trials]
    aurocs = [
        np.array([image_auroc(labels.anomalous, row) for row in scores["test"]]) for scores in kept
    ]
    chosen = np.array([int(scores["setting"]) for scores in kept])
    own = np.array([values[index] for values, index in zip(aurocs, chosen, strict=True)])
    papers = [bench.space(entry.method).default_setting for entry in trials]
    criteria: dict[str, dict[str, float]] = {}
    for name in bench.criteria:
        values = [oriented(name, scores[CRITERION_PREFIX + name]) for scores in kept]
        within = [correlation(v, a) for v, a in zip(values, aurocs, strict=True)]
        at_chosen = np.array([v[i] for v, i in zip(values, chosen, strict=True)])
        best_trial = int(np.argmax(at_chosen))
        criteria[name] = {
            "picks_setting": _mean(
                [a[int(np.argmax(v))] for v, a in zip(values, aurocs, strict=True)]
            ),
            "spearman_over_settings": _mean(within),
            "spearman_over_trials": correlation(at_chosen, own),
            "picks_trial": float(own[best_trial]),
        }
    return {
        "data": bench.config.data if bench.config.data == "demo" else Path(bench.config.data).name,
        "category": config.category,
        "size": list(prepared.size),
        "trials": len(trials),
        "settings": len(aurocs[0]),
        "image_auroc": {
            "mean_setting": _mean([values.mean() for values in aurocs]),
            "papers_setting": _mean([v[i] for v, i in zip(aurocs, papers, strict=True)]),
            "chosen_setting": _mean(own),
            "best_setting": _mean([values.max() for values in aurocs]),
            "one_best_setting_for_all": float(np.mean(aurocs, 0).max()),
            "best_of_all": float(max(values.max() for values in aurocs)),
        },
        "one_best_setting": dict(bench.spaces[0].grid[int(np.mean(aurocs, 0).argmax())]),
        "criteria": criteria,
    }


def _mean(values: Any) -> float:
    defined = [float(value) for value in values if math.isfinite(value)]
    return float(np.mean(defined)) if defined else math.nan


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study")
    parser.add_argument("--home", type=Path, help="default: $TUNER_HOME or ./tuner-runs")
    parser.add_argument("--name", help="of the file that is written; default: the study's")
    options = parser.parse_args()
    home = Home(options.home) if options.home else Home.here()
    result = _rounded(measure(options.study, home))
    text = json.dumps(result, indent=2)
    target = Path(__file__).with_name(f"scoring_choice_{options.name or options.study}.json")
    target.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
