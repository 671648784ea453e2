"""How far each pixel of a reconstruction is from its image.

Every function takes images and reconstructions `[B, 3, H, W]` in [0, 1] and returns `[B, H, W]`,
0 where the two agree and larger where they differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.scoring.windows import weighted_window

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2
GMS_C = 0.0026
MSGMS_SCALES = 4
MSGMS_SMALLEST = 4

Discrepancy = Callable[[Tensor, Tensor], Tensor]


def mse(images: Tensor, reconstruction: Tensor) -> Tensor:
    """Squared difference, mean over the channels; in [0, 1]."""
    return (images - reconstruction).square_().mean(1)


def gaussian_weights(size: int, sigma: float) -> tuple[float, ...]:
    """`size` weights of a Gaussian around the middle, summing to 1."""
    middle = size // 2
    raw = [math.exp(-((i - middle) ** 2) / (2 * sigma**2)) for i in range(size)]
    return tuple(value / sum(raw) for value in raw)


def ssim(images: Tensor, reconstruction: Tensor) -> Tensor:
    """`(1 - SSIM) / 2` with an 11 x 11 Gaussian window of sigma 1.5; in [0, 1].

    SSIM of each channel (Wang et al. 2004: range 1, K1 = 0.01, K2 = 0.03, population moments),
    mean over the channels, borders mirrored. A side shorter than 6 pixels takes the largest odd
    window that can be mirrored.

    The moments are those of the sum and the difference of the two images. With
    `A, B` the squared local means and `C, D` the local variances of sum and difference,
    kornia's has 1e-4 of its own (it squares before it takes differences) and takes twice the time
    (`benchmarks/kornia_twins.py`).

    `2 mx my = (A - B) / 2`, `mx^2 + my^2 = (A + B) / 2`, and likewise for the variances: four
    windows instead of five. With `a = A + 2 C1`, `c = C + 2 C2` the result is
    `(a D + B c) / ((a + B) (c + D))`: nothing cancels where image and reconstruction nearly agree.
    """
    size = min(SSIM_WINDOW, 2 * min(images.shape[-2:]) - 1)
    weights = gaussian_weights(size, SSIM_SIGMA)
    total, difference = images + reconstruction, images - reconstruction
    mean_total, mean_difference, square_total, square_difference = (
        weighted_window(part, weights)
        for part in (total, difference, total.square(), difference.square())
    )
    a, b = mean_total.square(), mean_difference.square()
    # Sums in place are safe for gradients too.
    c, d = square_total.sub_(a).add_(2 * SSIM_C2), square_difference.sub_(b)
    a.add_(2 * SSIM_C1)
    error = torch.addcmul(a * d, b, c) / ((a + b) * (c + d))
    return error.mean(1).clamp(0, 1)


def _sort3(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    rest = torch.minimum(high, c)
    return torch.minimum(low, rest), torch.maximum(low, rest), torch.maximum(high, c)


def _replicate(maps: Tensor) -> Tensor:
    """One pixel more on every side of `[P, B, H, W]`, the border repeated."""
    return F.pad(maps, (1, 1, 1, 1), mode="replicate")


def median_filter(maps: Tensor) -> Tensor:
    """3 x 3 median of `[P, B, H, W]`, borders repeated (kornia's are 0, and it takes three times as
    long: `benchmarks/kornia_twins.py`).

    Columns of three are sorted once and shared by three windows: the median of nine is the median
    of (largest of the lows, median of the middles, smallest of the highs).
    """
    padded = _replicate(maps)
    low, middle, high = _sort3(padded[..., :-2, :], padded[..., 1:-1, :], padded[..., 2:, :])
    left, centre, right = slice(None, -2), slice(1, -1), slice(2, None)
    lows = torch.maximum(torch.maximum(low[..., left], low[..., centre]), low[..., right])
    highs = torch.minimum(torch.minimum(high[..., left], high[..., centre]), high[..., right])
    middles = _median3(middle[..., left], middle[..., centre], middle[..., right])
    return _median3(lows, middles, highs)


def _median3(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    return torch.maximum(low, torch.minimum(high, c))


def gradient_magnitude(maps: Tensor) -> Tensor:
    """Magnitude of the Prewitt gradient (weights 1/3) of `[P, B, H, W]`, borders repeated."""
    padded = _replicate(maps)
    rows = (padded[..., :-2, :] + padded[..., 1:-1, :]).add_(padded[..., 2:, :])
    horizontal = rows[..., 2:] - rows[..., :-2]
    columns = (padded[..., :-2] + padded[..., 1:-1]).add_(padded[..., 2:])
    vertical = columns[..., 2:, :] - columns[..., :-2, :]
    return horizontal.square_().add_(vertical.square_()).sqrt_().div_(3)


def _gradient_error(grey: Tensor) -> Tensor:
    """`1 - GMS` of a pair `[2, B, H, W]`.

    `1 - (2ab + c) / (a^2 + b^2 + c)` written as `(a - b)^2 / (a^2 + b^2 + c)`: exactly 0 where the
    gradients agree, never negative.
    """
    first, second = gradient_magnitude(grey).unbind(0)
    below = first.square().add_(second.square()).add_(GMS_C)
    return (first - second).square_().div_(below)


def _grey(images: Tensor, reconstruction: Tensor) -> Tensor:
    return median_filter(torch.stack((images.mean(1), reconstruction.mean(1))))


def gms(images: Tensor, reconstruction: Tensor) -> Tensor:
    """One minus the gradient magnitude similarity (Xue et al. 2014); in [0, 1].

    Channel mean, 3 x 3 median, Prewitt gradients, c = 0.0026 for images in [0, 1].
    """
    return _gradient_error(_grey(images, reconstruction))


def msgms(images: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean of the GMS error over up to four scales (Zavrtanik et al., RIAD); in [0, 1].

    Each scale halves the grey pair by 2 x 2 means; errors are brought back bilinearly, one scale
    at a time. Scales whose shorter side would be under 4 pixels are left out, the first never.
    """
    return gradient_errors(images, reconstruction)[1]


def gradient_errors(images: Tensor, reconstruction: Tensor) -> tuple[Tensor, Tensor]:
    """`gms` and `msgms` at once: the first is one scale of the second."""
    grey = _grey(images, reconstruction)
    errors = [_gradient_error(grey)]
    while len(errors) < MSGMS_SCALES and min(grey.shape[-2:]) >= 2 * MSGMS_SMALLEST:
        grey = F.avg_pool2d(grey, 2)
        errors.append(_gradient_error(grey))
    total = errors[-1]
    # Up through the pyramid rather than each scale straight to full size: a quarter of the cost.
    for error in reversed(errors[:-1]):
        total = error + _enlarge(total, error.shape[-2:])
    return errors[0], total / len(errors)


def _enlarge(maps: Tensor, size: torch.Size) -> Tensor:
    enlarged = F.interpolate(
        maps[:, None], [int(n) for n in size], mode="bilinear", align_corners=False
    )
    return enlarged[:, 0]


DISCREPANCIES: dict[str, Discrepancy] = {"mse": mse, "ssim": ssim, "gms": gms, "msgms": msgms}
