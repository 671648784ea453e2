"""Our own image operations against their twins in kornia: difference and time.

    python benchmarks/kornia_twins.py [--repeats 10]

Both run in float32 on the same images in [0, 1] in one thread, in turns; the fastest run of each
counts, as time of this thread. `difference` is the largest one between the two, `ours_off` and
`kornia_off` how far each is at most from ours in float64, and `time_ratio` kornia's time over ours.
Writes `kornia_twins.json` beside itself.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import kornia
import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from methods.augmentation.contract import Draw
from methods.augmentation.rotation import ROTATION
from methods.scoring.discrepancy import SSIM_SIGMA, gaussian_weights, median_filter, ssim
from methods.scoring.levels import enlarged
from methods.scoring.smoothing import mean_filter
from methods.scoring.windows import weighted_window

SHAPES = ((16, 3, 64, 64), (4, 3, 256, 256))


@dataclass(frozen=True)
class Twins:
    """The same operation on images `[B, 3, H, W]`, twice."""

    ours: Callable[[Tensor], Tensor]
    kornia: Callable[[Tensor], Tensor]


def near(images: Tensor) -> Tensor:
    """Images that hardly differ, as a trained network's reconstructions of normal parts."""
    return (images + 1e-3 * images.roll(1, -1)).clamp(0, 1)


def ssim_of(images: Tensor) -> Tensor:
    similarity = kornia.metrics.ssim(images, near(images), 11, eps=0.0)
    return ((1 - similarity.mean(1)) / 2).clamp(0, 1)


def window_of(images: Tensor) -> Tensor:
    size, sigma = (11, 11), (SSIM_SIGMA, SSIM_SIGMA)
    return kornia.filters.gaussian_blur2d(images, size, sigma, border_type="reflect")


def turn(images: Tensor, angle: Tensor) -> Tensor:
    """What `methods.augmentation.rotation` had of its own before."""
    height, width = images.shape[2:]
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # Coordinates run from -1 to 1 on both sides, so that a side's share of a turn needs the aspect.
    row, column = -sine * (height / width), sine * (width / height)
    matrix = torch.stack([cosine, row, zero, column, cosine, zero]).view(1, 2, 3)
    grid = F.affine_grid(matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def turn_of(images: Tensor, angle: Tensor) -> Tensor:
    draw = Draw((images.shape[2], images.shape[3]), {"none": images.new_zeros(len(images), 0)})
    return ROTATION.transform(images, {"angle": angle}, draw)


def with_gradient(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The result under a learned angle; what it costs has its gradient in it."""

    def both(images: Tensor) -> Tensor:
        angle = torch.tensor(0.7, dtype=images.dtype, requires_grad=True)
        result = function(images, angle)
        result.square().mean().backward()
        return result.detach()

    return both


def flat(images: Tensor) -> Tensor:
    found = [
        ndimage.maximum_filter(grey, 3) == ndimage.minimum_filter(grey, 3)
        for grey in levels(images).flatten(0, 1).numpy()
    ]
    return torch.from_numpy(np.stack(found)).view(images.shape).to(images)


def flat_of(images: Tensor) -> Tensor:
    return (kornia.morphology.gradient(levels(images), torch.ones(3, 3).to(images)) == 0).to(images)


def levels(images: Tensor) -> Tensor:
    """Blocks of a few levels, as a mask with soft edges has."""
    return (8 * images).floor()


TWINS = {
    "ssim, 11 x 11": Twins(lambda x: ssim(x, near(x)), ssim_of),
    "median, 3 x 3": Twins(median_filter, lambda x: kornia.filters.median_blur(x, 3)),
    "gaussian window, 11 x 11": Twins(
        lambda x: weighted_window(x, gaussian_weights(11, SSIM_SIGMA)), window_of
    ),
    "mean filter, 11 x 11": Twins(
        lambda x: mean_filter(x, 11), lambda x: kornia.filters.box_blur(x, 11, separable=True)
    ),
    "rotation, with gradient": Twins(with_gradient(turn), with_gradient(turn_of)),
    "resizing, twice the side": Twins(
        lambda x: enlarged(x[:, 0], [2 * n for n in x.shape[2:]]),
        lambda x: kornia.geometry.resize(x[:, :1], tuple(2 * n for n in x.shape[2:]))[:, 0],
    ),
    "flip": Twins(lambda x: x.flip(-1), kornia.geometry.hflip),
    "flat places of a mask, 3 x 3": Twins(flat, flat_of),
}


def seconds(function: Callable[[Tensor], Tensor], images: Tensor) -> float:
    start = time.thread_time()
    function(images)
    return time.thread_time() - start


def measure(twins: Twins, images: Tensor, repeats: int) -> dict[str, float]:
    exact = twins.ours(images.double())
    ours, other = twins.ours(images), twins.kornia(images)
    spent = [(seconds(twins.ours, images), seconds(twins.kornia, images)) for _ in range(repeats)]
    own, theirs = (min(times) for times in zip(*spent, strict=True))
    return {
        "difference": float((ours - other).abs().max()),
        "ours_off": float((ours - exact).abs().max()),
        "kornia_off": float((other - exact).abs().max()),
        "ours_ms": round(1e3 * own, 3),
        "kornia_ms": round(1e3 * theirs, 3),
        "time_ratio": round(theirs / own, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10, help="turns; the fastest counts")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    found = {}
    for shape in SHAPES:
        coarse = torch.rand(*shape[:2], 8, 8, generator=torch.Generator().manual_seed(0))
        images = F.interpolate(coarse, shape[2:], mode="bilinear")
        for name, twins in TWINS.items():
            row = found[f"{name}, {list(shape)}"] = measure(twins, images, repeats)
            print(f"{name}, {list(shape)}", row, flush=True)
    result = {"kornia": kornia.__version__, "threads": 1, "operations": found}
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
