"""How MLflow loads a packaged detector: by this module's name, with no pickle in the artifact.

Loading needs the `tuner` package installed and runs only its code. `predict` takes what the
model's signature says, uint8 `[B, H, W, 3]`, or a one-dimensional object array of file paths,
bytes or images of different sizes, which MLflow lets pass; `get_raw_model()` gives the packaged
detector itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tuner.registry.package import PackagedDetector, load_package


class PyfuncDetector:
    """MLflow's side of a packaged detector."""

    def __init__(self, packaged: PackagedDetector) -> None:
        self._packaged = packaged

    def predict(self, images: Any, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """`score`, `verdict`, `threshold`, `false_positive_rate`, `score_over_threshold` `[B]` and
        `map` `[B, H, W]` at the size of the package, as its signature says."""
        found = self._packaged.predict(images, maps="package")
        del found["image"]
        if not np.isfinite(found["score_over_threshold"]).all():
            del found["score_over_threshold"]  # JSON has no NaN
        return found

    def get_raw_model(self) -> PackagedDetector:
        return self._packaged


def _load_pyfunc(path: str) -> PyfuncDetector:
    """Called by `mlflow.pyfunc.load_model`."""
    return PyfuncDetector(load_package(Path(path)))
