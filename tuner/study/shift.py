"""Does the unlabelled batch differ from the training normals as a whole?

Another light, focus or item moves every image of the batch; a defect moves some pixels of some
images. So each image is described by figures that a small defect cannot move (medians over its
pixels), and a set of images by its median: less than half of anomalies cannot move that far either.
Held-out normals come from the training's own lot and cannot tell; the batch must be looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# A normal's median deviation, as a share of its standard deviation.
_NORMAL_DEVIATION = 0.6745
# Grey levels: below this nobody sees a difference, however alike the training images are.
_SMALLEST = {"light": 1.0, "contrast": 1.0, "focus": 0.25}


def appearance(images: Array) -> dict[str, Array]:
    """Light, contrast and focus of uint8 images `[N, 3, H, W]`, in grey levels: `[N]` each.

    The median of the pixels, their interquartile range, and the median step between neighbours.
    """
    found = np.array([_of_one(image.astype(np.float32).mean(0)) for image in images])
    return dict(zip(("light", "contrast", "focus"), found.reshape(-1, 3).T, strict=True))


def _of_one(grey: Array) -> tuple[float, float, float]:
    low, middle, high = np.percentile(grey, (25, 50, 75))
    steps = np.concatenate([np.abs(np.diff(grey, axis=axis)).ravel() for axis in (0, 1)])
    return float(middle), float(high - low), float(np.median(steps))


def shifts(normal: Array, batch: Array) -> dict[str, float]:
    """How far the batch's median image lies from the normal one, by light, contrast and focus.

    In standard deviations of the normal images (from their median deviation). Images are uint8
    `[., 3, H, W]`; raises ValueError for an empty set.
    """
    if not (len(normal) and len(batch)):
        raise ValueError(f"there are {len(normal)} normal and {len(batch)} unlabelled images")
    own, other = appearance(normal), appearance(batch)
    found = {}
    for name, values in own.items():
        centre = np.median(values)
        deviation = float(np.median(np.abs(values - centre))) / _NORMAL_DEVIATION
        found[name] = float(np.median(other[name]) - centre) / max(deviation, _SMALLEST[name])
    return found
