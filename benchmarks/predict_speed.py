"""Speed of `tuner predict` from image files, against the bare network with batches in memory.

    OMP_NUM_THREADS=1 python benchmarks/predict_speed.py
    OMP_NUM_THREADS=1 python benchmarks/predict_speed.py --method feature-fae
    OMP_NUM_THREADS=1 python benchmarks/predict_speed.py --method patch-memory

A filtering autoencoder of random weights, or a method on frozen features that was fitted to noise
for a few steps, judges PNG files as `tuner predict --benchmark` does:
decoding runs ahead in threads while the network works. "Bare" is the same one pass through network
and scoring over the same images, decoded before the clock starts. Both in turn, several rounds; the
ratio is that of the best rounds. Torch works with one thread, so that decoding has a processor.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from methods.contract import Context, Detector, TrialData, everything
from methods.filtering_autoencoder.detector import FilteringDetector
from methods.hyperparameter import Value
from methods.networks.unet import UNet
from methods.registry import get_method
from tuner.prediction.places import find
from tuner.prediction.stream import BATCH, Clock, judge_all
from tuner.prediction.writing import count_all
from tuner.registry import PackagedDetector, load_package, save_package

RESULT = Path(__file__).with_suffix(".json")
FITTED: dict[str, dict[str, Value]] = {"feature-fae": {"steps": 4}, "patch-memory": {}}


def packaged(folder: Path, method: str, side: int, width: int) -> PackagedDetector:
    size = (side, side)
    if method == "fae":
        values: dict[str, Value] = {"width": width, "kernel": 3, "skips": True}
        scoring: dict[str, Value] = {"discrepancy": "ssim", "pooling": "sum"}
        detector: Detector = FilteringDetector(UNet(width, 3, True, size), size)
    else:
        values, scoring = FITTED[method], {}
        noise = torch.randint(0, 256, (16, 3, *size), dtype=torch.uint8)
        data = TrialData(noise, noise[:4], noise[:4])
        *_, last = get_method(method).fit(data, values, Context(rungs=1))
        detector = last.detector
    save_package(
        folder,
        method=method,
        hyperparameters=values,
        scoring=scoring,
        weights=everything(detector),
        size=size,
        threshold=1.0,
        false_positive_rate=0.05,
        held_out_scores=[0.5],
        category="benchmark",
        study="benchmark",
        fingerprint="none",
        versions={},
    )
    return load_package(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=("fae", *FITTED), default="fae")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--side", type=int, default=128, help="of the package, in pixels")
    parser.add_argument("--native", type=int, default=256, help="of the files, in pixels")
    parser.add_argument("--width", type=int, default=16, help="of fae's network")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        (root / "images").mkdir()
        for index in range(given.images):
            coarse = rng.integers(0, 256, (given.native // 8, given.native // 8, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((given.native, given.native))
            picture.save(root / "images" / f"{index:05d}.png")
        model = packaged(root / "model", given.method, given.side, given.width)
        places = find([str(root / "images")])
        ready = np.stack([v.image for v in judge_all(model, places)])  # type: ignore[union-attr]
        bare, streamed = [], []
        for _ in range(given.rounds):
            began = time.perf_counter()
            for start in range(0, len(ready), BATCH):
                model.judge(ready[start : start + BATCH])
            bare.append(len(ready) / (time.perf_counter() - began))
            clock = Clock()
            count_all(judge_all(model, places, clock=clock))
            streamed.append(clock.as_dict())
    best = max(streamed, key=lambda each: each["images_per_second"])
    result = {
        **vars(given),
        "bare_images_per_second": round(max(bare), 1),
        "predict": {name: round(value, 3) for name, value in best.items()},
        "ratio": round(best["images_per_second"] / max(bare), 3),
        "device": str(model.device),
    }
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    RESULT.write_text(json.dumps({**known, given.method: result}, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
