"""Inpainting of faces by projection against plain reconstruction (Dehaene et al., 4.2).

    python benchmarks/inpainting.py

Writes inpainting.json beside itself. The 100 face crops that scikit-image ships (`lfw_subset`,
25 x 25 grey, here enlarged to 32 x 32), 80 to train on, 20 to repair: a box of a quarter to a half
of each side is filled with uniform noise. Each figure is the mean absolute error inside the boxes,
in the grey range: of the noise, of the reconstruction, of the reconstruction of the face without a
box (what the network can do at best), of the projection with the box known (Eq. 7) and blind
(Eq. 8). Steps in input space are tried on training faces and the best of each is taken.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from skimage.data import lfw_subset
from torch import Tensor

from methods.contract import Context, TrialData, unit
from methods.energy_projection.detector import ProjectionDetector
from methods.energy_projection.model import KINDS
from methods.registry import get_method

SIZE, FACES, TRAIN = 32, 100, 80
KNOWN = [
    {"step_size": size, "iterations": count, "l1_weight": 0.0}
    for size, count in itertools.product((0.1, 0.5), (20, 100))
]
BLIND = [
    {"step_size": size, "iterations": count, "l1_weight": weight}
    for size, count, weight in itertools.product((0.5, 4.0), (20, 100), (0.0, 0.05))
]


def faces() -> Tensor:
    """uint8 `[100, 3, 32, 32]`."""
    grey = torch.from_numpy(lfw_subset()[:FACES]).float()[:, None]
    large = F.interpolate(grey, (SIZE, SIZE), mode="bicubic", align_corners=False).clamp(0, 1)
    return (255 * large).round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()


def boxes(count: int, generator: torch.Generator) -> Tensor:
    """Masks `[count, 1, 32, 32]`, 1 inside a box of a quarter to a half of each side."""
    masks = torch.zeros(count, 1, SIZE, SIZE)
    for mask in masks:
        height, width = torch.randint(SIZE // 4, SIZE // 2 + 1, (2,), generator=generator).tolist()
        top = int(torch.randint(SIZE - height + 1, (1,), generator=generator))
        left = int(torch.randint(SIZE - width + 1, (1,), generator=generator))
        mask[:, top : top + height, left : left + width] = 1
    return masks


def spoil(images: Tensor, masks: Tensor, generator: torch.Generator) -> Tensor:
    """The same grey noise in all channels, inside the masks."""
    noise = torch.rand(images[:, :1].shape, generator=generator).expand_as(images)
    return torch.where(masks.bool(), noise, images)


def error(images: Tensor, repaired: Tensor, masks: Tensor) -> float:
    inside = masks.expand_as(images).bool()
    return round(float((images - repaired)[inside].abs().mean()), 4)


def measure(kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    every = faces()
    data = TrialData(every[:TRAIN], every[TRAIN:], every[TRAIN:])
    values = {
        "model": kind,
        "steps": arguments.steps,
        "batch_size": 32,
        "width": 16,
        "code": 32,
        "learning_rate": 3e-3,
        "schedule": "cosine",
        "rotation": 5.0,
        "shift": 0.05,
    }
    (progress,) = get_method("energy-projection").fit(
        data, values, Context(seed=arguments.seed, rungs=1)
    )
    detector = progress.detector
    assert isinstance(detector, ProjectionDetector)
    generator = torch.Generator().manual_seed(arguments.seed)
    trial, judged = unit(data.train[:40]), unit(data.test)
    trial_masks, masks = boxes(len(trial), generator), boxes(len(judged), generator)
    trial_spoilt, spoilt = spoil(trial, trial_masks, generator), spoil(judged, masks, generator)

    def best(settings: list[dict[str, Any]], known: bool) -> dict[str, Any]:
        def of(setting: dict[str, Any]) -> float:
            mask = trial_masks if known else None
            return error(trial, detector.inpaint(trial_spoilt, mask, setting), trial_masks)

        return min(settings, key=of)

    known, blind = best(KNOWN, True), best(BLIND, False)
    return {
        "model": kind,
        "diagnostics": {name: round(value, 4) for name, value in progress.diagnostics.items()},
        "noise": error(judged, spoilt, masks),
        "reconstruction": error(judged, detector.reconstruct(spoilt), masks),
        "reconstruction_of_the_whole_face": error(judged, detector.reconstruct(judged), masks),
        "known_mask": error(judged, detector.inpaint(spoilt, masks, known), masks),
        "blind": error(judged, detector.inpaint(spoilt, None, blind), masks),
        "known_mask_setting": known,
        "blind_setting": blind,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report = {
        "faces": {"train": TRAIN, "repaired": FACES - TRAIN, "size": SIZE},
        "steps": arguments.steps,
        "seed": arguments.seed,
        "mean_absolute_error_inside": [],
    }
    for kind in arguments.models:
        report["mean_absolute_error_inside"].append(measure(kind, arguments))
        text = json.dumps(report, indent=2)
        Path(__file__).with_suffix(".json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
