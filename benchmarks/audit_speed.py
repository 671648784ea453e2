"""How long an audit takes: 50 trials, 600 test images of 256 x 256, all but the network itself.

    python benchmarks/audit_speed.py

Makes images, masks and the files of a study (made-up scores of 60 scoring settings a trial), then
runs the audit twice in a process of its own: as at the end of a study (pixel metrics of winner,
defaults and best trial) and as `tuner audit` runs it (of every criterion's pick, too, those known
from before taken as they are). Maps are those of a mean image, which cost next to nothing: what a
network takes for a map of 600 images comes on top, once a contender. `seconds_of_a_network` is that
for the filtering autoencoder that studies on a processor train, from 8 images.
Processor seconds are what a quiet core would take; a busy machine shows in the others.
Writes audit_speed.json beside itself.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor  # noqa: E402

from methods.contract import Context, TrialData, unit  # noqa: E402
from methods.criteria.registry import criterion_names  # noqa: E402
from methods.hyperparameter import Hyperparameter  # noqa: E402
from methods.registry import get_method, register_method  # noqa: E402
from search_spaces.loader import load_search_space  # noqa: E402
from tuner.evaluation.study import audit_study  # noqa: E402
from tuner.study.config import StudyConfig  # noqa: E402
from tuner.study.files import CRITERION_PREFIX  # noqa: E402
from tuner.study.home import Home  # noqa: E402
from tuner.study.ledger import Ledger  # noqa: E402
from tuner.study.space import build_space  # noqa: E402
from tuner.study.workbench import Workbench, set_up  # noqa: E402

TRIALS, IMAGES, SIDE, SETTINGS, NAME = 50, 600, 256, 60, "audit-speed"

SPACE = f"""
method: {NAME}
title: Mean image
training:
  gain: {{low: 0.5, high: 2.0}}
scoring:
  variant: [{", ".join(f"v{i}" for i in range(SETTINGS))}]
"""


class MeanImageDetector:
    """Maps are distances from an image."""

    def __init__(self, mean: Tensor) -> None:
        self.mean = mean

    def maps(self, images: Tensor, scoring: Any) -> Tensor:
        return (images - self.mean).abs().mean(1)


@register_method(NAME)
class MeanImage:
    """Enough of a method for an audit."""

    title, paper = "Mean image", "none"
    hyperparameters = (
        Hyperparameter("gain", 1.0, "nothing", low=0.1, high=10.0, source="none"),
        Hyperparameter(
            "variant", "v0", "nothing", choices=tuple(f"v{i}" for i in range(SETTINGS)),
            source="none", tier="scoring",
        ),
    )  # fmt: skip

    def check(self, data: TrialData, hyperparameters: Any) -> None: ...

    def restore(self, hyperparameters: Any, weights: Any) -> MeanImageDetector:
        return MeanImageDetector(weights["mean"])


def write_images(root: Path) -> None:
    """A category in MVTec AD's layout: 40 normal images, half of the test images with a blot."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for folder, count in (
        ("train/good", 40),
        ("test/good", IMAGES // 2),
        ("test/blot", IMAGES // 2),
    ):
        target = root / "part" / folder
        target.mkdir(parents=True)
        for index in range(count):
            image = (
                128 + 20 * np.sin(columns / 5 + rng.uniform(0, 6)) + rng.normal(0, 8, (SIDE, SIDE))
            )
            if folder.endswith("blot"):
                y, x, r = *rng.integers(30, SIDE - 30, 2), rng.integers(5, 30)
                blot = (rows - y) ** 2 + (columns - x) ** 2 < r**2
                image[blot] -= rng.uniform(10, 60)
                masks = root / "part" / "ground_truth" / "blot"
                masks.mkdir(parents=True, exist_ok=True)
                Image.fromarray((blot * 255).astype(np.uint8)).save(masks / f"{index:03d}_mask.png")
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(target / f"{index:03d}.png")


def write_study(bench: Workbench, home: Home) -> None:
    """The ledger and the files of a study of trials that were never trained."""
    config, rng, folder = bench.config, np.random.default_rng(1), home.study(bench.config.name)
    config.write(folder.config)
    ledger = Ledger.create(
        home.ledger_url, config.name, ["maximize"], bench.spaces, seed=0, random_trials=8,
        reduction=None,
    )  # fmt: skip
    mean = unit(bench.data.train).mean(0, keepdim=True)
    truth = rng.normal(0, 1, len(bench.data.test))
    for _ in range(TRIALS):
        entry = ledger.ask(8)
        values = {name: rng.random(SETTINGS) for name in criterion_names()}
        path = folder.trial(entry.number)
        path.mkdir(parents=True)
        save_file({"mean": mean + 0.05 * rng.random()}, path / "detector.safetensors")
        scores = truth + rng.normal(0, 1, (SETTINGS, len(truth)))
        held_out = rng.normal(0, 1, (SETTINGS, len(bench.data.held_out)))
        np.savez(
            path / "scores.npz", setting=np.asarray(0), test=scores.astype(np.float32),
            held_out=held_out.astype(np.float32),
            **{CRITERION_PREFIX + name: v for name, v in values.items()},
        )  # fmt: skip
        record = {
            "number": entry.number, "rung": 4, "setting": 0, "scoring": {"variant": "v0"},
            "criteria": {name: float(v[0]) for name, v in values.items()},
        }  # fmt: skip
        leading = record["criteria"][config.criterion]
        ledger.report(entry.number, record, leading)
        ledger.end(entry.number, "finished", [leading])


def config_of(folder: Path) -> StudyConfig:
    return StudyConfig(
        name="audited", category="part", data=str(folder / "data"), methods=(NAME,),
        space=str(folder / "space.yaml"), size=(SIDE, SIDE), engine="local",
    )  # fmt: skip


def child(folder: Path) -> dict[str, Any]:
    """Audit as at the end of a study, then as asked for; in this process."""
    home, config = Home(folder / "home"), config_of(folder)
    began = time.perf_counter()
    bench = set_up(config, home)
    found: dict[str, Any] = {"seconds_to_open_the_study": time.perf_counter() - began}
    ledger = Ledger.read(home.ledger_url, config.name)
    study = home.study(config.name)
    for name, every in (("at_the_end_of_a_study", False), ("tuner_audit", True)):
        began, used = time.perf_counter(), time.process_time()
        audit = audit_study(bench, ledger, study, 7, every_pick=every)
        assert audit is not None
        found[f"seconds_{name}"] = time.perf_counter() - began
        found[f"processor_seconds_{name}"] = time.process_time() - used
    found["picks"] = len(audit["picks"])
    found["peak_gigabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return found


def network_seconds(images: int = 8) -> float:
    """Seconds of the filtering autoencoder's maps of all test images, from a few of them."""
    method = get_method("fae")
    space = build_space(method, load_search_space("fae"), "cpu", {"steps": 2, "batch_size": 2})
    generator = torch.Generator().manual_seed(0)
    size = (images, 3, SIDE, SIDE)
    some = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
    data = TrialData(some[:4], some[:2], some[:4], None)
    fit = method.fit(data, space.complete(space.defaults), Context(rungs=1))
    detector: Any = next(iter(fit)).detector
    began = time.perf_counter()
    with torch.no_grad():
        detector.maps(unit(some), space.grid[space.default_setting])
    return (time.perf_counter() - began) * IMAGES / images


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(child(Path(sys.argv[1]))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_images(folder / "data")
        (folder / "space.yaml").write_text(SPACE)
        write_study(set_up(config_of(folder), Home(folder / "home")), Home(folder / "home"))
        command = [sys.executable, __file__, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    found |= {"seconds_of_a_network": network_seconds(), "load_average": os.getloadavg()[0]}
    result = {
        "trials": TRIALS, "images": IMAGES, "size": SIDE, "settings": SETTINGS,
        **{name: round(value, 2) for name, value in found.items()},
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
