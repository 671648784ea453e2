"""Number formats of training: speed as ratios of one run, and image AUROC over seeds in each.

    python benchmarks/precision.py

Trains the filtering autoencoder's defaults (learning rate 3e-3) on the demo's tile at 64 x 64 for
200 steps, 3 seeds in float32 and in bfloat16 with channels last, and scores with MSE maps and the
relative top share. Labels are opened for the AUROC only. The last result lies beside this script.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from methods.contract import Context, TrialData, unit
from methods.hyperparameter import complete
from methods.registry import get_method
from tuner.data import prepare, split
from tuner.evaluation import image_auroc
from tuner.evaluation.audit import open_labels

STEPS, SEEDS = 200, (0, 1, 2)
FORMATS = {
    "float32": ("float32", False),
    "float32, channels last": ("float32", True),
    "bfloat16, channels last": ("bfloat16", True),
}
SCORING = {
    "discrepancy": "mse",
    "smoothing_passes": 2,
    "smoothing_size": 11 / 256,
    "pooling": "topk_relative",
}


def main() -> None:
    torch.set_num_threads(1)
    method = get_method("fae")
    values = {"width": 8, "batch_size": 16, "steps": STEPS, "learning_rate": 3e-3}
    hyperparameters = complete(method.hyperparameters, values, "training")
    with tempfile.TemporaryDirectory() as cache:
        prepared = prepare("demo", "tile", (64, 64), Path(cache))
        parts = split(prepared, 0, 0.2)
        data = TrialData(*map(torch.from_numpy, (parts.train, parts.held_out, parts.test)))
        hashes = [prepared.test_hashes[i] for i in parts.test_order]
        labels = open_labels("demo", "tile", (64, 64), hashes)
        assert labels is not None
    seconds: dict[str, list[float]] = {name: [] for name in FORMATS}
    aurocs: dict[str, list[float]] = {name: [] for name in FORMATS}
    for seed in SEEDS:
        # The formats take turns, so that a machine that slows down slows all of them.
        for name, (precision, channels_last) in FORMATS.items():
            context = Context(seed=seed, rungs=4, precision=precision, channels_last=channels_last)
            fit = method.fit(data, hyperparameters, context)
            progress = next(fit)
            began = time.process_time()
            for progress in fit:  # noqa: B007
                pass
            seconds[name].append((time.process_time() - began) / (0.75 * STEPS))
            scores = progress.detector.scores(unit(data.test), SCORING).numpy()
            aurocs[name].append(image_auroc(labels.anomalous, scores))
    steps = {name: statistics.median(found) for name, found in seconds.items()}
    result = {
        "data": "demo, tile, 64 x 64",
        "processor_has_amx": "amx_bf16" in Path("/proc/cpuinfo").read_text(),
        "processor_has_avx512_bf16": "avx512_bf16" in Path("/proc/cpuinfo").read_text(),
        "processor_seconds_a_step": {name: round(value, 4) for name, value in steps.items()},
        "speed_over_float32": {
            name: round(steps["float32"] / value, 2) for name, value in steps.items()
        },
        "image_auroc": {name: [round(v, 4) for v in found] for name, found in aurocs.items()},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
