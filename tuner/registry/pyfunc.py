"""How MLflow loads a packaged detector: by this module's name, with no pickle in the artifact.

Loading needs the `tuner` package installed and runs only its code. `predict` takes what the
model's signature says, uint8 `[B, H, W, 3]`, or a one-dimensional object array of file paths,
bytes or images of different sizes, which MLflow lets pass; `get_raw_model()` gives the packaged
detector itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuner.registry.package import PackagedDetector, load_package


class PyfuncDetector:
    """MLflow's side of a packaged detector."""

    def __init__(self, packaged: PackagedDetector) -> None:
        self._packaged = packaged

    def predict(self, images: Any, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """`score`, `verdict`, `threshold`, `false_positive_rate` `[B]` and `map` `[B, H, W]`."""
        return self._packaged.predict(images)

    def get_raw_model(self) -> PackagedDetector:
        return self._packaged


def _load_pyfunc(path: str) -> PyfuncDetector:
    """Called by `mlflow.pyfunc.load_model`."""
    return PyfuncDetector(load_package(Path(path)))
